"""Content over RPC when the machine does not play along: nothing is lost, nothing is left over, nothing hangs."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import ROOT, Daemon, running_daemon
from tests.support.disks import mounted, small_disk
from tests.support.faults import settled
from tests.support.filesystem import Files
from tests.support.wires import RpcError

OLD = os.urandom(2_000_000)
PIECE = os.urandom(1 << 20)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can prepare this")


@pytest.fixture
def files(daemon: Daemon) -> Files:
    return Files(Client(daemon.port, Codec.PROTO))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "files/old"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


# Writing.


@pytest.mark.slow
async def test_a_server_that_is_killed_leaves_the_old_content_and_nothing_else(old: Path):
    chance = random.Random(7)
    async with running_daemon() as daemon:
        for _ in range(20):
            files = Files(Client(daemon.port, Codec.PROTO))
            await files.stat("/")  # answered by the successor
            writing = asyncio.create_task(files.write(old, endless()))
            await asyncio.sleep(chance.random() * 0.1)
            await asyncio.to_thread(daemon.kill_server)
            writing.cancel()
            with suppress(asyncio.CancelledError, RpcError, OSError, EOFError):
                await writing
            assert contents(old.parent) == {"old": OLD}
        await Files(Client(daemon.port, Codec.PROTO)).write(old, b"new")
        assert contents(old.parent) == {"old": b"new"}


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield PIECE
        await asyncio.sleep(0)


@pytest.mark.slow
async def test_a_server_killed_while_it_commits_leaves_the_old_or_the_new_content(tmp_path: Path):
    new = OLD[::-1]
    path = tmp_path / "files/old"
    path.parent.mkdir()
    chance = random.Random(11)
    async with running_daemon() as daemon:
        for _ in range(20):
            path.write_bytes(OLD)
            files = Files(Client(daemon.port, Codec.PROTO))
            await files.stat("/")  # answered by the successor
            writing = asyncio.create_task(files.write(path, [new[:1_000_000], new[1_000_000:]]))
            await asyncio.sleep(chance.random() * 0.02)
            await asyncio.to_thread(daemon.kill_server)
            writing.cancel()
            with suppress(asyncio.CancelledError, RpcError, OSError, EOFError):
                await writing
            assert path.read_bytes() in (OLD, new)
            # Killed between giving the content a hidden name and giving it its own, the successor clears up.
            assert await settled(lambda: os.listdir(path.parent), lambda names: len(names) == 1) == ["old"]


@pytest.mark.parametrize("kind", ["replaced", "in place", "hard link", "new"])
async def test_a_full_disk_is_told_and_leaves_what_was_there(files: Files, tmp_path: Path, kind):
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        path = disk / ("new/file" if kind == "new" else "old")
        expected = {"old": OLD}
        (disk / "old").write_bytes(OLD)
        if kind == "hard link":
            os.link(path, disk / "other")
            expected["other"] = OLD
        options = {"replaced": {"atomic": True}, "in place": {"atomic": False}}.get(kind, {})
        # Three megabytes fit into the place of the old ones, but not beside them; five fit nowhere.
        for size in (5, 3, 5):
            if size == 3 and kind in ("in place", "hard link"):
                continue
            await refused(files.write(path, [PIECE] * size, **options), "resource_exhausted")
            assert contents(disk) == expected
        await files.write(path, PIECE, **options)
        assert path.read_bytes() == PIECE


async def test_a_disk_without_inodes_is_told(files: Files, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=4m,nr_inodes=3") as disk:
        for name in ("a", "b"):
            (disk / name).touch()
        for path in (disk / "c", disk / "sub/c"):
            await refused(files.write(path, b"x"), "resource_exhausted")
        await refused(files.write(disk / "a", b"x", atomic=True), "resource_exhausted")
        await refused(files.make_dir(disk / "sub"), "resource_exhausted")
        assert contents(disk) == {"a": b"", "b": b""}


@needs_root
async def test_metadata_that_does_not_fit_leaves_what_was_there(files: Files, old: Path):
    os.setxattr(old, "user.e2b.key", b"old")
    with suppress(OSError):
        while True:  # until the file system takes no more; some have room without end
            os.setxattr(old, f"user.filler{len(os.listxattr(old))}", bytes(200))
            if len(os.listxattr(old)) > 200:
                pytest.skip("this file system does not run out of room for attributes")
    await refused(files.write(old, b"new", metadata={"key": "v" * 2000}), "resource_exhausted")
    assert (old.read_bytes(), os.getxattr(old, "user.e2b.key")) == (OLD, b"old")
    assert os.listdir(old.parent) == ["old"]


@needs_root
async def test_a_mount_point_is_written_in_place(files: Files, old: Path, tmp_path: Path):
    (tmp_path / "source").write_bytes(b"mounted")
    with mounted(old, "--bind", str(tmp_path / "source")):
        assert "mount point" in await refused(files.write(old, b"x", atomic=True), "invalid_argument")
        assert (await files.write(old, b"through the mount")).entry.size == 17
        assert os.listdir(old.parent) == ["old"]
    assert ((tmp_path / "source").read_bytes(), old.read_bytes()) == (b"through the mount", OLD)


@needs_root
async def test_a_file_mounted_into_a_directory_that_is_read_only_is_written(files: Files, tmp_path: Path):
    (tmp_path / "source").write_bytes(b"mounted")
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        (disk / "file").touch()
        (disk / "other").write_bytes(b"other")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with mounted(disk / "file", "--bind", str(tmp_path / "source")):
            await files.write(disk / "file", b"new")
        for call in (
            partial(files.write, disk / "other", b"x"),
            partial(files.write, disk / "new", b"x"),
            partial(files.make_dir, disk / "d"),
            partial(files.remove, disk / "other"),
            partial(files.move, disk / "other", disk / "moved"),
            partial(files.copy, disk / "other", disk / "copy"),
            partial(files.set_attributes, disk / "other", mode=0o600),
            partial(files.make_symlink, disk / "link", "x"),
        ):
            assert "read-only" in await refused(call(), "permission_denied")
        assert contents(disk) == {"file": b"", "other": b"other"}
    assert (tmp_path / "source").read_bytes() == b"new"


@needs_root
async def test_an_access_control_list_stays_and_an_inherited_one_does_not_come(files: Files, old: Path):
    # Version 2; owner rw, user 54321 r, group r, mask r, others nothing. posix_acl_xattr.h.
    entries = [
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 54321),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    ]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(old, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("no access control lists here")
    await files.write(old, b"new")
    assert os.getxattr(old, "system.posix_acl_access") == acl
    plain = old.with_name("plain")
    plain.touch(mode=0o640)
    os.setxattr(old.parent, "system.posix_acl_default", acl)
    await files.write(plain, b"new")
    assert "system.posix_acl_access" not in os.listxattr(plain)
    assert plain.stat().st_mode & 0o7777 == 0o640


@needs_root
async def test_what_a_file_could_do_does_not_go_over_to_another_content(files: Files, old: Path):
    old.chmod(0o6755)
    os.setxattr(old, "security.capability", struct.pack("<IIIII", 0x02000001, 1, 0, 0, 0))
    await files.write(old, b"new")
    assert old.stat().st_mode & 0o7777 == 0o755
    assert "security.capability" not in os.listxattr(old)


@needs_root
def test_a_file_takes_its_place_where_none_can_be_without_a_name(tmp_path: Path):
    """Without /proc a file cannot be given a name later, so it has a hidden one from the beginning."""
    (tmp_path / "old").write_bytes(b"old")
    script = """
import os, sys
from envd.filesystem.writing.target import WriteOptions
from envd.filesystem.writing.staging import stage
from envd.host.users import own_user
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.writing.hidden_names import TEMPORARY
temporaries = Temporaries(TempRegistry(os.memfd_create("leftovers")), OwnWrites())
os.chdir(sys.argv[1])
assert not os.path.exists("/proc/self")
for name in ("old", "new"):
    for commit in (False, True):
        with stage(os.path.join(sys.argv[1], name), WriteOptions(own_user()), temporaries) as staged:
            os.write(staged.fd, b"content")
            hidden = [found for found in os.listdir(".") if TEMPORARY.fullmatch(found)]
            assert len(hidden) == 1, os.listdir(".")
            if commit:
                staged.commit()
"""
    command = ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh", sys.executable, "-c", script]
    probe = subprocess.run([*command[:3], "-c", "umount -l /proc"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("no mount namespace to take /proc away in")
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == {"old": b"content", "new": b"content"}


async def test_readers_see_the_old_content_or_the_new_one(files: Files, old: Path):
    new = OLD[::-1]
    done = asyncio.Event()

    async def look() -> int:
        looks = 0
        while not done.is_set() or looks < 3:
            assert (await files.read(old)).data in (OLD, new)
            looks += 1
        return looks

    looking = asyncio.create_task(look())
    for content in (new, OLD) * 5:
        await files.write(old, [content[:700_000], content[700_000:]])
    done.set()
    assert await looking >= 3


# Reading.


async def test_a_file_that_becomes_shorter_ends_the_stream_with_an_error(files: Files, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(bytes(64 << 20))
    seen = 0
    async with files.reading(file) as messages:
        assert (await anext(messages)).start.length == 64 << 20
        os.truncate(file, 1 << 20)
        with pytest.raises(RpcError) as error:  # noqa: PT012 - the error is the end of the loop
            async for message in messages:
                seen += len(message.chunk.data)
    assert error.value.code == "aborted"
    assert f"{seen} of {64 << 20} bytes" in error.value.message


async def test_a_file_that_grows_is_read_to_its_end(files: Files, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(PIECE)
    content = b""
    async with files.reading(file) as messages:
        async for message in messages:
            if message.HasField("start"):
                assert message.start.length == len(PIECE)
                with file.open("ab") as more:
                    more.write(PIECE)
            content += message.chunk.data
            last = message
    # The end may have been read before the rest was there.
    assert content in (PIECE, PIECE * 2)
    assert last.end.length == len(content)


async def test_a_sparse_file_is_read_as_zeros(files: Files, tmp_path: Path):
    file = tmp_path / "sparse"
    with file.open("wb") as hole:
        hole.seek(50_000_000)
        hole.write(b"end")
    read = await files.read(file)
    assert read.data == bytes(50_000_000) + b"end"
    far = await files.read(file, offset=49_999_999)
    assert far.data == b"\0end"


async def test_a_client_that_stops_reading_holds_nobody_up(files: Files, tmp_path: Path, daemon: Daemon):
    file = tmp_path / "large"
    with file.open("wb") as hole:
        hole.truncate(1 << 30)
    wire = Client(daemon.port, Codec.PROTO)
    async with asyncio.timeout(60):
        streams = [Files(wire).reading(file) for _ in range(40)]  # more than there are threads
        opened = [await stream.__aenter__() for stream in streams]
        for stream in opened:
            assert (await anext(stream)).HasField("start")
        assert (await files.read("/etc/passwd")).data == Path("/etc/passwd").read_bytes()
        for stream in streams:
            await stream.__aexit__(None, None, None)


async def test_descriptors_are_let_go_of(tmp_path: Path):
    (tmp_path / "file").write_bytes(PIECE * 8)
    async with running_daemon() as daemon:
        files = Files(Client(daemon.port, Codec.PROTO))

        def open_there() -> list[str]:
            fds = f"/proc/{daemon.server_pid()}/fd"
            return [found for fd in os.listdir(fds) if (found := _link(f"{fds}/{fd}")).startswith(str(tmp_path))]

        for _ in range(10):
            async with files.reading(tmp_path / "file") as messages:
                await anext(messages)
                messages.leave()
            writing = asyncio.create_task(files.write(tmp_path / "other", endless()))
            await asyncio.sleep(0.02)
            writing.cancel()
            with suppress(asyncio.CancelledError, RpcError, EOFError, OSError):
                await writing
            async with files.listing(tmp_path.parent, depth=9, batch_size=1) as batches:
                await anext(batches)
                batches.leave()
        async with asyncio.timeout(60):
            while open_there():
                await asyncio.sleep(0.05)
        assert os.listdir(tmp_path) == ["file"]


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
