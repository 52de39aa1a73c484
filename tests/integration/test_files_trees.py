"""Large, deep and odd trees; moves and copies between file systems; a daemon without root."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.disks import small_disk
from tests.support.faults import CUT_OFF, kill_server, peak_bytes, persist, settled
from tests.support.filesystem import Files
from tests.support.wires import RpcError

MANY = 100_000
DEEP = 3000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can prepare this")


@pytest.fixture
def files(daemon: Daemon) -> Files:
    return Files(Client(daemon.port, Codec.PROTO))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("crowd")
    fd = os.open(directory, os.O_RDONLY)
    names = [f"entry-{number:06d}" for number in range(MANY)]
    random.Random(1).shuffle(names)
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)
    return directory


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A chain of directories that is far longer than a path may be, and than what pytest itself can remove."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("below", dir_fd=here)
        there = os.open("below", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    yield tmp_path / "below"
    subprocess.run(["rm", "-rf", tmp_path / "below"], check=True)


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


def peak_mb(pid: int) -> float:
    return peak_bytes(pid) / 1024**2


# Listings.


@pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.value)
@pytest.mark.slow
async def test_a_crowd_is_listed_in_order_and_little_memory_while_others_are_served(crowd: Path, codec: Codec):
    async with running_daemon() as daemon:
        files, other = Files(Client(daemon.port, codec)), Client(daemon.port, Codec.PROTO)
        before = peak_mb(daemon.server_pid())
        listing = asyncio.create_task(files.list_dir(crowd))
        served = 0
        while not listing.done():
            await Files(other).stat("/")
            served += 1
        names = [entry.name for entry in await listing]
        assert names == [f"entry-{number:06d}" for number in range(MANY)]
        assert served >= 10
        assert peak_mb(daemon.server_pid()) - before < 120


@pytest.mark.slow
async def test_a_crowd_is_streamed_in_bounded_memory_whatever_the_reader_does(crowd: Path):
    async with running_daemon() as daemon:
        files = Files(Client(daemon.port, Codec.PROTO))
        await files.list_entries(crowd.parent)
        before = peak_mb(daemon.server_pid())
        names = set()
        async with files.listing(crowd) as batches:
            async for batch in batches:
                assert len(batch.entries) <= 1000
                names.update(entry.name for entry in batch.entries)
        assert len(names) == MANY
        assert peak_mb(daemon.server_pid()) - before < 15


@pytest.mark.slow
async def test_listings_of_stalled_clients_occupy_no_threads(crowd: Path, files: Files):
    streams = [files.listing(crowd) for _ in range(40)]
    async with asyncio.timeout(60):
        for stream in streams:
            await anext(await stream.__aenter__())
        assert (await files.stat("/")).name == "/"
        for stream in streams:
            await stream.__aexit__(None, None, None)


async def test_a_tree_deeper_than_paths_can_be_is_listed_whole(files: Files, deep: Path):
    entries = await files.list_dir(deep, depth=2**32 - 1)
    batches = await files.list_entries(deep, depth=2**32 - 1)
    assert len(entries) == sum(len(batch.entries) for batch in batches) == DEEP
    assert len(os.fsencode(entries[-1].path)) > 4096
    assert not any(batch.unreadable for batch in batches)


async def test_a_directory_that_changes_while_it_is_listed_yields_what_is_there(files: Files, tmp_path: Path):
    for number in range(2000):
        (tmp_path / f"d{number:04d}").mkdir()
    stop = asyncio.Event()

    def churn() -> None:
        while not stop.is_set():
            for number in range(0, 2000, 7):
                (tmp_path / f"d{number:04d}").rmdir()
                (tmp_path / f"d{number:04d}").mkdir()

    churning = asyncio.create_task(asyncio.to_thread(churn))
    try:
        for _ in range(10):
            names = [entry.name for entry in await files.list_dir(tmp_path, depth=3)]
            steady = {f"d{number:04d}" for number in range(2000) if number % 7}
            assert steady <= set(names)
            assert names == sorted(names)
    finally:
        stop.set()
        await churning


# Removing.


async def test_a_tree_deeper_than_paths_can_be_is_removed(files: Files, deep: Path):
    await files.remove(deep)
    assert not deep.exists()


async def test_what_grows_while_it_is_removed_is_removed_or_told(files: Files, tmp_path: Path):
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    until = time.monotonic() + 0.5

    def grow() -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            try:
                (target / "sub" / f"{number}").touch()
            except OSError:
                return

    growing = asyncio.create_task(asyncio.to_thread(grow))
    (outcome,) = await asyncio.gather(files.remove(target), return_exceptions=True)
    assert outcome is None or (isinstance(outcome, RpcError) and outcome.code == "failed_precondition")
    await growing
    await files.remove(target)
    assert not target.exists()


@needs_root
async def test_a_mount_point_is_not_removed(files: Files, tmp_path: Path):
    (tmp_path / "d").mkdir()
    with small_disk(tmp_path / "d/disk", "size=1m"):
        await refused(files.remove(tmp_path / "d"), "failed_precondition")
        assert (tmp_path / "d/disk").is_mount()


# Moves between file systems.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "size=8m") as made:
        yield made


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is known of a tree: modes, owners, times, content, and which names are one file."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        st = path.lstat()
        name = str(path.relative_to(root))
        first = inodes.setdefault(st.st_ino, name)
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[name] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, first, st.st_rdev)
    return found


@needs_root
@pytest.mark.line(99)
async def test_a_tree_is_moved_with_all_there_is_about_it(files: Files, tmp_path: Path, disk: Path):
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "file").write_bytes(os.urandom(100_000))
    (source / "file").chmod(0o4751)
    os.link(source / "file", source / "sub/same")
    (source / "link").symlink_to("../gone")
    os.mkfifo(source / "fifo", 0o622)
    os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(source / "socket"))
    os.setxattr(source / "file", "user.e2b.key", b"value")
    (source / "sub").chmod(0o2770)
    for name in ("file", "link", "sub", "."):
        os.chown(source / name, 54321, 54322, follow_symlinks=False)
        os.utime(source / name, ns=(10**9 + 1, 2 * 10**9 + 3), follow_symlinks=False)
    (source / "file").chmod(0o4751)
    before = facts(source)
    entry = await files.move(source, disk / "new/place")
    assert entry.path == str(disk / "new/place")
    assert facts(disk / "new/place") == before
    assert (dict((await files.stat(disk / "new/place/file")).metadata)) == {"key": "value"}
    assert not source.exists()
    assert os.listdir(disk / "new") == ["place"]


@needs_root
@pytest.mark.line(99)
async def test_a_file_is_moved_onto_one_of_another_file_system(files: Files, tmp_path: Path, disk: Path):
    (tmp_path / "file").write_bytes(b"new")
    (disk / "file").write_bytes(b"old")
    await files.move(tmp_path / "file", disk / "file")
    assert ((disk / "file").read_bytes(), (tmp_path / "file").exists()) == (b"new", False)
    (tmp_path / "file").write_bytes(b"newer")
    (disk / "directory").mkdir()
    await refused(files.move(tmp_path / "file", disk / "directory"), "already_exists")
    (tmp_path / "link").symlink_to("anywhere")
    await files.move(tmp_path / "link", disk / "link")
    assert os.readlink(disk / "link") == "anywhere"


@needs_root
async def test_a_move_that_finds_the_disk_full_changes_nothing(files: Files, tmp_path: Path, disk: Path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}").write_bytes(bytes(1 << 20))
    (disk / "old").write_bytes(b"old")
    for call in (
        files.move(source, disk / "a/b"),
        files.copy(source, disk / "a/b", recursive=True),
    ):
        await refused(call, "resource_exhausted")
        assert os.listdir(disk) == ["old"]
        assert len(os.listdir(source)) == 12


async def test_a_sparse_file_stays_sparse(files: Files, tmp_path: Path):
    source = tmp_path / "sparse"
    with source.open("wb") as hole:
        hole.write(b"begin")
        hole.seek(200_000_000)
        hole.write(b"end")
        hole.truncate(300_000_000)
    await files.copy(source, tmp_path / "copy")
    copy = (tmp_path / "copy").stat()
    assert copy.st_size == 300_000_000
    assert copy.st_blocks * 512 < 1_000_000
    assert (await files.read(tmp_path / "copy", offset=200_000_000, length=4)).data == b"end\0"


async def test_a_file_the_kernel_makes_up_can_be_copied(files: Files, tmp_path: Path):
    await files.copy("/proc/version", tmp_path / "version")
    assert (tmp_path / "version").read_bytes() == Path("/proc/version").read_bytes()


@needs_root
async def test_a_directory_above_that_is_renamed_while_a_tree_is_copied_has_nothing_left_in_it(tmp_path: Path):
    source = tmp_path / "tree"
    source.mkdir()
    for number in range(3000):
        (source / f"file-{number:04d}").write_bytes(b"x" * 1000)
    with small_disk(tmp_path / "disk", "size=64m") as disk:
        (disk / "a/b").mkdir(parents=True)
        async with running_daemon() as own:
            copying = asyncio.create_task(
                Files(Client(own.port, Codec.PROTO)).copy(source, disk / "a/b/tree", recursive=True)
            )
            assert await settled(lambda: os.listdir(disk / "a/b"), bool)
            (disk / "a").rename(disk / "moved")
            with pytest.raises(RpcError) as error:
                await copying
        assert error.value.code == "not_found"
        assert [str(path.relative_to(disk)) for path in disk.rglob("*")] == ["moved", "moved/b"]


# Without root.


@needs_root
async def test_directories_that_cannot_be_read_can_be_worked_in(other_user: pwd.struct_passwd):
    home = Path(other_user.pw_dir)
    async with running_daemon("--port", "0", "--listen", "127.0.0.1", user=other_user.pw_name) as daemon:
        files = Files(Client(daemon.port, Codec.PROTO))
        await files.write("~/closed/tree/below/file", b"x")
        (home / "closed").chmod(0o300)
        await files.copy("~/closed/tree", "~/closed/copy", recursive=True)
        await files.remove("~/closed/tree")
        (home / "closed").chmod(0o700)
        assert sorted(str(path.relative_to(home / "closed")) for path in (home / "closed").rglob("*")) == [
            "copy",
            "copy/below",
            "copy/below/file",
        ]


@needs_root
async def test_a_daemon_without_root_acts_for_its_own_user_only(other_user: pwd.struct_passwd, tmp_path: Path):
    home = Path(other_user.pw_dir)
    async with running_daemon("--port", "0", "--listen", "127.0.0.1", user=other_user.pw_name) as daemon:
        files = Files(Client(daemon.port, Codec.PROTO))
        entry = (await files.write("~/own/file", b"x", mode=0o600)).entry
        assert (entry.owner, entry.path) == (other_user.pw_name, str(home / "own/file"))
        await files.as_user(other_user.pw_name).stat("~/own")
        await files.copy("~/own", "~/copy", recursive=True)
        await files.set_attributes("~/own/file", mode=0o644)
        message = await refused(files.as_user("root").stat("~"), "permission_denied")
        assert "not root" in message
        for call in (
            files.write("/etc/passwd", b"x"),
            files.write("/etc/envd-new", b"x"),
            files.make_dir("/etc/envd-new"),
            files.set_attributes("/etc/passwd", mode=0o666),
            files.set_attributes("~/own/file", owner="root"),
            files.remove("/etc/passwd"),
            files.move("/etc/passwd", "~/passwd"),
        ):
            await refused(call, "permission_denied")
        (home / "readonly").write_bytes(b"old")
        (home / "readonly").chmod(0o444)
        os.chown(home / "readonly", other_user.pw_uid, other_user.pw_gid)
        await refused(files.write("~/readonly", b"x"), "permission_denied")
        for name in ("own", "copy", "readonly"):
            await files.remove(home / name)


@needs_root
@pytest.mark.parametrize("call", ["copy", "move"])
async def test_a_server_killed_in_the_middle_of_a_tree_leaves_nothing_behind(tmp_path: Path, call: str):
    source = tmp_path / "tree"
    source.mkdir()
    for number in range(3000):
        (source / f"file-{number:04d}").write_bytes(b"x" * 1000)
    with small_disk(tmp_path / "disk", "size=64m") as disk:
        async with running_daemon() as own:
            files = Files(Client(own.port, Codec.PROTO))
            working = asyncio.create_task(
                files.copy(source, disk / "tree", recursive=True)
                if call == "copy"
                else files.move(source, disk / "tree")
            )
            assert await settled(lambda: os.listdir(disk), bool)
            await kill_server(own)
            with pytest.raises(CUT_OFF):
                await working
            await persist(lambda: files.stat(source))
            assert await settled(lambda: os.listdir(disk), lambda names: not names) == []
            assert len(os.listdir(source)) == 3000
