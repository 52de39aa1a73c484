"""Calls that promise to follow no link below what they are about, while somebody swaps names for links there."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envd.filesystem.watching.scanning import Scan, ScanBounds
from envd.filesystem.watching.snapshot import Directory
from tests.support.archives import Archives
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.disks import small_disk
from tests.support.filesystem import Files
from tests.support.racing_links import HARMLESS, SECRET, Race, make_tree, racing
from tests.support.searching import Search
from tests.support.wires import RpcError, basic

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has secrets from others")

FEW, MANY = 40, 400
TRIES = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
# With the daemon's own rights nothing but the walker protects the secret; the kernel checks what others do, too.
USERS = ["root", "nobody"]


@dataclass(frozen=True, slots=True)
class Calls:
    """All calls as one user."""

    files: Files
    search: Search
    archives: Archives


@pytest.fixture(params=USERS)
def calls(daemon: Daemon, request: pytest.FixtureRequest) -> Calls:
    wire = Client(daemon.port, Codec.PROTO).with_headers(basic(request.param))
    return Calls(Files(wire), Search(wire), Archives(wire))


@pytest.fixture
def race(tmp_path: Path) -> Iterator[Race]:
    for above in (tmp_path, *tmp_path.parents):  # pytest's are for their owner only
        if above.owner() == "root" and above.is_relative_to("/tmp/pytest-of-root"):  # noqa: S108
            above.chmod(0o755)
    with racing(tmp_path) as race:
        yield race


async def told(call: Awaitable[object]) -> str:
    """What a call answers, as text; a refusal is an answer, too, if it is none of a fault of the daemon's."""
    try:
        return str(await call)
    except RpcError as exc:
        if exc.code in ("internal", "unknown"):
            raise
        return f"{exc.code}: {exc.message}"


@pytest.mark.parametrize("tries", TRIES)
@pytest.mark.parametrize("name", ["list_dir", "list_entries", "find", "grep", "archive"])
async def test_nothing_behind_a_link_is_told(calls: Calls, race: Race, name: str, tries: int):
    top = race.tree
    call: Callable[[], Awaitable[object]] = {
        "list_dir": lambda: calls.files.list_dir(top, depth=5),
        "list_entries": lambda: calls.files.list_entries(top, depth=5),
        "find": lambda: calls.search.find(top),
        "grep": lambda: calls.search.grep(top, f"{SECRET}|{HARMLESS}"),
        "archive": lambda: calls.archives.archive(top),
    }[name]
    for attempt in range(tries):
        assert not race.leaked(await told(call())), attempt
    assert not race.changed()


@pytest.mark.parametrize("tries", TRIES)
async def test_nothing_behind_a_link_is_copied(calls: Calls, race: Race, tries: int):
    for attempt in range(tries):
        target = race.tree.parent / f"copy-{attempt}"
        await told(calls.files.copy(race.tree, target, recursive=True))
        assert not race.leaked_to(target), attempt
        shutil.rmtree(target, ignore_errors=True)
    assert not race.changed()


@pytest.mark.parametrize("tries", TRIES)
async def test_nothing_is_copied_to_behind_a_link(calls: Calls, race: Race, tmp_path: Path, tries: int):
    source = tmp_path / "source"
    (source / "d/x").mkdir(parents=True)
    (source / "l/x").mkdir(parents=True)
    for name in ("d/x/f0", "d/x/new", "l/x/f0", "l/x/new", "f", "fl"):
        (source / name).write_text("written")
    for attempt in range(tries):
        await told(calls.files.copy(source, race.tree, recursive=True, overwrite=True))
        assert not race.changed(), attempt


@pytest.mark.parametrize("tries", TRIES)
async def test_nothing_behind_a_link_is_replaced(calls: Calls, race: Race, tries: int):
    for attempt in range(tries):
        await told(calls.search.replace(race.tree, f"{SECRET}|{HARMLESS}", HARMLESS))
        assert not race.changed(), attempt


@pytest.mark.parametrize("tries", TRIES)
async def test_nothing_is_extracted_behind_a_link(calls: Calls, race: Race, tries: int):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in (*(f"d/x/f{number}" for number in range(5)), "d/x/new", "f"):
            info = tarfile.TarInfo(name)
            info.size = 5
            archive.addfile(info, io.BytesIO(b"pwned"))
    for attempt in range(tries):
        await told(calls.archives.extract(race.tree, packed.getvalue()))
        assert not race.changed(), attempt


@pytest.mark.parametrize("tries", TRIES)
async def test_nothing_behind_a_link_is_removed(calls: Calls, race: Race, tries: int):
    for attempt in range(tries):
        shutil.rmtree(race.tree, ignore_errors=True)
        aside = race.tree.parent / uuid.uuid4().hex
        make_tree(aside, race.secret)
        if not race.tree.exists():
            aside.rename(race.tree)
        await told(calls.files.remove(race.tree))
        assert not race.changed(), attempt


@pytest.mark.parametrize("tries", [pytest.param(10, id="few"), pytest.param(300, id="many", marks=pytest.mark.slow)])
async def test_nothing_behind_a_link_moves_to_another_file_system(calls: Calls, race: Race, tmp_path: Path, tries: int):
    with small_disk(tmp_path / "disk", "size=16m") as disk:
        disk.chmod(0o1777)
        for attempt in range(tries):
            shutil.rmtree(race.tree, ignore_errors=True)
            aside = race.tree.parent / uuid.uuid4().hex
            make_tree(aside, race.secret)
            if not race.tree.exists():
                aside.rename(race.tree)
            await told(calls.files.move(race.tree, disk / f"moved-{attempt}"))
            assert not race.leaked_to(disk), attempt
            assert not race.changed(), attempt


@pytest.mark.parametrize("tries", TRIES)
def test_nothing_behind_a_link_is_scanned_for_a_watch(race: Race, tries: int):
    for attempt in range(tries):
        bounds = ScanBounds(recursive=True, network=False, room=10_000, directories=10_000)
        (found,) = Scan(None, bounds).walk(str(race.tree), None, [""])
        assert found is not None
        assert not race.leaked(" ".join(_names(found))), attempt


def _names(found: Directory) -> list[str]:
    return [name for directory in found.tree() for name in (*directory.entries, *directory.names_below)]
