"""Watching through the published `e2b` packages, unmodified: Python in both ways, and npm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.once import once
from tests.support.sdk import RUN_TIMEOUT_S, run_node, run_python
from tests.support.tools import INSTALL_TIMEOUT_S

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)

NOT_FOUND = ("FileNotFoundException", "NotFoundException", "FileNotFoundError", "NotFoundError")


@pytest.fixture(scope="module", params=["sync", "async", pytest.param("node", marks=pytest.mark.tools)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def seen(kind: str, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the package saw in every scenario."""

    def run(root: Path) -> dict[str, Any]:
        return run_node("watching", root, daemon) if kind == "node" else run_python(f"{kind}-watching", root, daemon)

    return once(tmp_path_factory, f"sdk-watching-{kind}", run)[0]


def test_a_new_file_is_created_changed_and_written_and_an_old_one_written(seen):
    assert seen["upload"] == [["create file", "chmod file", "write file"], ["write file"]]


def test_a_tree_is_followed_where_it_goes(seen):
    found = [event for event in seen["tree"] if not event.startswith("chmod")]
    assert found == [
        "create a",
        "create a/b",
        "create a/b/file",
        "write a/b/file",
        "rename a/b",
        "create a/c",
        "create a/c/file",
        "remove a/c/file",
    ]


def test_entries_come_along(seen):
    assert seen["entries"] == [["/file", 7]] * 3


def test_nothing_to_watch_is_not_found(seen):
    assert seen["missing"]["raised"] in NOT_FOUND


def test_removal_of_the_directory_is_the_end(seen):
    events, raised = seen["removed"]
    assert events == ["remove ."]
    assert raised in NOT_FOUND


def test_who_stops_hears_no_more(seen, kind):
    if kind == "sync":
        assert seen["stopped"]["raised"] in ("NotFoundException", "SandboxException")
    else:
        assert seen["stopped"] is None
