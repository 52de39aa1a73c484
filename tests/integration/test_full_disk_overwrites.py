"""Copies, archives and uploads in parts over files of disks that are full, without inodes, or have a quota."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import connect_proto
from tests.support.archives import Archives, entry, tar
from tests.support.daemon import Daemon, running_daemon
from tests.support.disks import fill, quota_disk, small_disk, small_ext4
from tests.support.files import put
from tests.support.filesystem import Files
from tests.support.uploads import Uploads
from tests.support.wires import RpcError, Wire

OLD = os.urandom(1 << 20)


@pytest.fixture
async def wire(daemon: Daemon):
    async with connect_proto(daemon.port) as wire:
        yield wire


@contextmanager
def tmpfs(directory: Path) -> Iterator[Path]:
    with small_disk(directory, "size=2m") as disk:
        (disk / "old").write_bytes(OLD)
        fill(disk)
        yield disk / "old"


@contextmanager
def ext4(directory: Path) -> Iterator[Path]:
    with small_ext4(directory, 4 << 20) as disk:
        (disk / "old").write_bytes(OLD)
        fill(disk)
        yield disk / "old"


@contextmanager
def inodes(directory: Path) -> Iterator[Path]:
    """A disk on which no file can be made."""
    with small_disk(directory, "size=4m,nr_inodes=2") as disk:
        (disk / "old").write_bytes(OLD)
        yield disk / "old"


@pytest.fixture(params=[tmpfs, ext4, inodes], ids=lambda kind: kind.__name__)
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with request.param(tmp_path / "disk") as old:
        yield old


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


async def uploaded(uploads: Uploads, path: Path, content: bytes, **options: object) -> None:
    """Upload in one part; nothing is left of one that fails."""
    ident = await uploads.new(path, **options)
    try:
        await uploads.part(ident, 0, content)
        await uploads.commit(ident)
    except RpcError:
        await uploads.abort(ident)
        raise


def alone(path: Path) -> bool:
    """Nothing was left beside a file."""
    return not [name for name in os.listdir(path.parent) if name.startswith(".envd-")]


# Copies.


async def test_a_copy_overwrites_a_file_that_no_other_one_can_be_beside(wire: Wire, full: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(new := os.urandom(900_000))
    source.chmod(0o640)
    before = full.stat().st_ino
    await Files(wire).copy(source, full, overwrite=True, preserve=True)
    st = full.stat()
    assert (full.read_bytes(), st.st_mode & 0o7777, st.st_ino) == (new, 0o640, before)
    assert st.st_mtime_ns == source.stat().st_mtime_ns
    assert alone(full)


async def test_a_copied_tree_overwrites_files_that_no_others_can_be_beside(wire: Wire, full: Path, tmp_path: Path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/old").write_bytes(new := os.urandom(500_000))
    await Files(wire).copy(tmp_path / "tree", full.parent, recursive=True, overwrite=True)
    assert full.read_bytes() == new
    assert alone(full)


async def test_a_file_is_moved_over_one_that_no_other_one_can_be_beside(wire: Wire, full: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(new := os.urandom(500_000))
    await Files(wire).move(source, full)
    assert (full.read_bytes(), source.exists()) == (new, False)
    assert alone(full)


async def test_a_copy_that_does_not_fit_changes_nothing(wire: Wire, full: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(6 << 20))
    await refused(Files(wire).copy(source, full, overwrite=True), "resource_exhausted")
    await refused(Files(wire).copy(full, full.with_name("new")), "resource_exhausted")
    assert full.read_bytes() == OLD
    assert os.listdir(full.parent).count("new") == 0
    assert alone(full)


async def test_a_copy_leaves_the_other_names_of_a_file_what_they_are(wire: Wire, full: Path, tmp_path: Path):
    try:
        os.link(full, full.with_name("other"))
    except OSError:
        pytest.skip("a second name takes an inode here")
    (tmp_path / "source").write_bytes(b"new")
    await refused(Files(wire).copy(tmp_path / "source", full, overwrite=True), "resource_exhausted")
    assert full.with_name("other").read_bytes() == OLD


# Uploads in parts.


@pytest.fixture
async def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Uploads, Path]]:
    """Uploads to a daemon with a directory for temporaries of its own."""
    temporaries = tmp_path_factory.mktemp("temporaries")
    async with (
        running_daemon(env={"TMPDIR": str(temporaries)}) as daemon,
        connect_proto(daemon.port) as wire,
    ):
        yield Uploads(wire), temporaries


async def test_parts_for_a_file_that_no_other_one_can_be_beside_wait_elsewhere(
    elsewhere: tuple[Uploads, Path], full: Path
):
    uploads, temporaries = elsewhere
    new = os.urandom(900_000)
    ident = await uploads.new(full, size=len(new))
    await uploads.part(ident, 400_000, new[400_000:])
    assert full.read_bytes() == OLD
    assert len(os.listdir(temporaries)) == 1
    await uploads.part(ident, 0, new[:400_000])
    before = full.stat().st_ino
    answer = await uploads.commit(ident)
    assert (full.read_bytes(), full.stat().st_ino, answer.created) == (new, before, False)
    assert alone(full)
    assert os.listdir(temporaries) == []


async def test_parts_that_wait_elsewhere_and_are_aborted_leave_nothing(elsewhere: tuple[Uploads, Path], full: Path):
    uploads, temporaries = elsewhere
    ident = await uploads.new(full, size=900_000)
    await uploads.part(ident, 0, b"x")
    await uploads.abort(ident)
    assert (full.read_bytes(), alone(full), os.listdir(temporaries)) == (OLD, True, [])


async def test_parts_take_their_place_at_once_if_there_is_room_by_then(elsewhere: tuple[Uploads, Path], full: Path):
    uploads, temporaries = elsewhere
    ident = await uploads.new(full, size=900_000)
    await uploads.part(ident, 0, new := os.urandom(900_000))
    filler = full.with_name("filler")
    if not filler.exists():
        pytest.skip("it is not blocks that are missing")
    filler.unlink()
    with full.open("rb") as reader:
        await uploads.commit(ident)
        assert reader.read() == OLD
    assert (full.read_bytes(), os.listdir(temporaries)) == (new, [])


async def test_a_size_for_which_there_is_no_room_is_refused_in_the_end(elsewhere: tuple[Uploads, Path], full: Path):
    uploads, _ = elsewhere
    ident = await uploads.new(full, size=6 << 20)
    await uploads.part(ident, 0, bytes(6 << 20))
    await refused(uploads.commit(ident), "resource_exhausted")
    assert full.read_bytes() == OLD
    await uploads.abort(ident)


async def test_who_insists_on_atomic_parts_is_told_at_once(elsewhere: tuple[Uploads, Path], full: Path):
    uploads, _ = elsewhere
    await refused(uploaded(uploads, full, os.urandom(900_000), size=900_000, atomic=True), "resource_exhausted")
    assert full.read_bytes() == OLD


# Quotas.


async def test_a_quota_that_is_used_up_is_told_like_a_full_disk(daemon: Daemon, wire: Wire, tmp_path: Path):
    (tmp_path / "source").write_bytes(large := os.urandom(4 << 20))
    with quota_disk(tmp_path / "disk", 3 << 20) as disk:
        (disk / "old").write_bytes(OLD)
        files, uploads = Files(wire), Uploads(wire)
        for path in (disk / "old", disk / "new"):
            await refused(files.write(path, [large]), "resource_exhausted")
            await refused(files.copy(tmp_path / "source", path, overwrite=True), "resource_exhausted")
            await refused(uploaded(uploads, path, large), "resource_exhausted")
            assert (await put(daemon.port, path, large)).status == 507
        await refused(Archives(wire).extract(disk, tar(entry("old", large))), "resource_exhausted")
        assert ((disk / "old").read_bytes(), os.listdir(disk)) == (OLD, ["old"])
