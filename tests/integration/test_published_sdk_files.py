"""Files through the published `e2b` packages, unmodified: Python in both ways, and npm; and through our SDK."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.once import once
from tests.support.sdk import RUN_TIMEOUT_S, run_node, run_ours, run_python
from tests.support.tools import INSTALL_TIMEOUT_S

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)


@pytest.fixture(
    scope="module", params=["sync", "async", "ours-sync", "ours-async", pytest.param("node", marks=pytest.mark.tools)]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def seen_below(kind: str, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What the package saw in every scenario, and the directory it worked in."""

    def run(root: Path) -> dict[str, Any]:
        if kind == "node":
            return run_node("files", root, daemon)
        package = run_ours if kind.startswith("ours-") else run_python
        return package(f"{kind.removeprefix('ours-')}-files", root, daemon)

    # One directory for each, for some have the same name for what is below.
    return once(tmp_path_factory, f"sdk-files-{kind}", run)


@pytest.fixture
def seen(seen_below: tuple[dict[str, Any], Path]) -> dict[str, Any]:
    return seen_below[0]


@pytest.fixture
def root(seen_below: tuple[dict[str, Any], Path]) -> Path:
    return seen_below[1]


def test_text_is_written_and_read(seen, root, kind):
    info, *same = seen["text"]
    path = f"{root}/{kind.removeprefix('ours-')}/sub/text.txt"
    assert (info["name"], info["path"], info["type"]) == ("text.txt", path, "file")
    assert same == [True, True]


def test_bytes_are_written_and_read_whatever_the_transfer(seen):
    assert seen["bytes"] == [True, True, True]


def test_streams_are_written_and_read(seen):
    assert seen["stream"] == [True, True]


def test_many_files_are_written_at_once(seen):
    assert seen["many"] == [200, True]


def test_reading_nothing_is_not_found(seen):
    assert seen["missing"]["raised"] in (
        "FileNotFoundException",
        "FileNotFoundError",
        "NotFoundException",
        "NotFoundError",
    )


def test_reading_a_directory_is_an_invalid_argument(seen):
    assert seen["directory"]["raised"] in ("InvalidArgumentException", "InvalidArgumentError")
    assert "is a directory" in seen["directory"]["text"]


def test_directories_are_listed_as_deep_as_asked(seen):
    deep = [["/listing/a", "/listing/d"], ["/listing/d/b", "/listing/d/e"], ["/listing/d/e/c"]]
    assert seen["listing"] == [deep[0], sorted(deep[0] + deep[1]), sorted(deep[0] + deep[1] + deep[2])]


def test_existence_is_told(seen):
    assert seen["exists"] == [True, False]


def test_a_file_is_renamed_into_a_new_directory(seen):
    assert seen["rename"] == ["/new/after", False]


def test_a_directory_is_removed_with_what_is_in_it(seen):
    assert seen["remove"] is False


def test_making_a_directory_twice_says_so(seen):
    assert seen["make_dir"] == [True, False]


def test_info_has_metadata_size_and_permissions(seen):
    written, stored, *rest = seen["info"]
    assert rest == [5, "-rw-r--r--", "file"]
    assert written == stored
    # Over REST keys are headers, which have no case; over gRPC they keep theirs.
    assert stored in ({"key": "a value"}, {"Key": "a value"}, {})


def test_relative_paths_begin_at_home(seen):
    assert seen["home"][0] == f"{pwd.getpwuid(os.geteuid()).pw_dir}/sdk-file-in-home"


def test_metadata_that_is_too_much_is_an_invalid_argument(seen):
    assert seen["bad_metadata"]["raised"] in ("InvalidArgumentException", "InvalidArgumentError")
