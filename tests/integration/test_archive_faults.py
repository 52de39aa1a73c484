"""Archives while everything around them fails: disks, clients, servers, and trees that change under them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from envd_proto.filesystem import archive_pb2 as pb
from tests.conftest import connect_proto
from tests.support.archives import Archives, entry, names_of, picture, tar
from tests.support.daemon import ROOT, Daemon, running_daemon
from tests.support.disks import mounted, small_disk
from tests.support.files import answer, refusal
from tests.support.filesystem import Files
from tests.support.http1 import connection, exchange, request
from tests.support.readers import descriptors, until
from tests.support.wires import RpcError

TAR = {"Content-Type": "application/x-tar"}


@pytest.fixture
async def archives(daemon: Daemon) -> AsyncIterator[Archives]:
    async with connect_proto(daemon.port) as wire:
        yield Archives(wire)


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A file system that takes thousands of files as fast as any."""
    with small_disk(tmp_path / "memory", "size=256m") as disk:
        yield disk


def many_files(top: Path, count: int, size: int = 1000) -> Path:
    """Small files, 100 to a directory."""
    content = os.urandom(size)
    for number in range(count):
        directory = top / f"d{number // 100}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_bytes(content)
    return top


async def extract(daemon: Daemon, path: object, data: bytes):
    return await exchange(daemon.port, "POST", f"/files/extract?path={path}", headers=TAR, body=data)


# Disks.


@pytest.mark.parametrize("there", [False, True], ids=["new", "merged"])
async def test_a_full_disk_is_told_and_nothing_is_left(daemon: Daemon, archives: Archives, tmp_path: Path, there):
    large = tar(*(entry(f"f{number}", os.urandom(1_000_000)) for number in range(12)))
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        if there:
            (disk / "t").mkdir()
            (disk / "t/f1").write_bytes(b"old")
        before = picture(disk, times=False)
        with pytest.raises(RpcError) as error:
            await archives.extract(disk / "t", large)
        assert error.value.code == "resource_exhausted"
        assert "no space left" in refusal(await extract(daemon, disk / "t", large), 507)
        assert picture(disk, times=False) == before
        answer(await extract(daemon, disk / "t", tar(entry("f1", os.urandom(5_000_000)))))


async def test_a_disk_without_inodes_is_told_and_nothing_is_left(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=8m,nr_inodes=20") as disk:
        refusal(await extract(daemon, disk / "t", tar(*(entry(f"f{number}") for number in range(30)))), 507)
        assert os.listdir(disk) == []
        answer(await extract(daemon, disk / "t", tar(*(entry(f"f{number}") for number in range(10)))))


async def test_a_place_that_cannot_be_written_to_is_told(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "ro") as disk:
        refusal(await extract(daemon, disk / "t", tar(entry("f"))), 403)
        refusal(await extract(daemon, disk, tar(entry("f"))), 403)


async def test_what_is_mounted_within_the_target_gets_its_files_too(daemon: Daemon, tmp_path: Path):
    (tmp_path / "t").mkdir()
    with small_disk(tmp_path / "t/disk", "size=8m") as disk:
        (disk / "old").write_bytes(b"old")
        data = tar(entry("disk/old", b"new", mtime=5), entry("disk/d/x", b"x"), entry("f", b"x"))
        answer(await extract(daemon, tmp_path / "t", data))
        assert ((disk / "old").read_bytes(), (disk / "old").stat().st_mtime) == (b"new", 5)
        assert (sorted(os.listdir(disk)), (disk / "d/x").read_bytes()) == (["d", "old"], b"x")
        assert sorted(os.listdir(tmp_path / "t")) == ["disk", "f"]


async def test_a_mounted_directory_can_be_the_target(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        answer(await extract(daemon, disk, tar(entry("f", b"x"))))
        assert os.listdir(disk) == ["f"]


async def test_a_failure_while_entries_take_their_places_says_how_many_have(daemon: Daemon, tmp_path: Path):
    top = tmp_path / "t"
    top.mkdir()
    for name in ("f1", "f2"):
        (top / name).write_bytes(b"old")
    with mounted(top / "f2", "--bind", str(top / "f2")):  # what is mounted cannot be replaced
        response = await extract(daemon, top, tar(*(entry(f"f{number}", b"new") for number in range(1, 4))))
        message = refusal(response, 400)
        assert "f2" in message
        assert (top / "f2").read_bytes() == b"old"
        placed = [name for name in ("f1", "f3") if (top / name).exists() and (top / name).read_bytes() == b"new"]
        assert f"put in place before: {len(placed)}" in message or not placed
    assert not [name for name in os.listdir(top) if name.startswith(".envd")]


# Clients and servers.


async def test_a_client_that_dies_at_any_byte_changes_nothing(daemon: Daemon, tmp_path: Path):
    top = tmp_path / "t"
    top.mkdir()
    (top / "f0").write_bytes(b"old")
    data = tar(*(entry(f"f{number}", bytes(20_000)) for number in range(300)))
    chance = random.Random(3)
    server = daemon.server_pid()
    answer(await extract(daemon, top, tar(entry("f0", b"old"))))
    before = descriptors(server)
    for path in ("t", "t", *(f"new{number}/er" for number in range(12)), "t"):
        async with connection(daemon.port) as conn:
            headers = {**TAR, "Content-Length": str(len(data))}
            await conn.send(request("POST", f"/files/extract?path={tmp_path}/{path}", headers=headers))
            with suppress(ConnectionError):
                await conn.send(data[: chance.randrange(len(data) - 1024)])
            conn.reset()
    await until(lambda: (os.listdir(tmp_path), os.listdir(top)) == (["t"], ["f0"]))
    assert (top / "f0").read_bytes() == b"old"
    await until(lambda: descriptors(server) <= before)


def below(top: Path) -> list[str]:
    """The names of all that is below a directory, while it vanishes."""
    found = (os.path.join(at, name) for at, directories, files in os.walk(top) for name in (*directories, *files))
    return sorted(os.path.relpath(path, top) for path in found)


@pytest.mark.parametrize("there", [True, False], ids=["into-a-directory", "as-a-new-one"])
async def test_an_extraction_whose_directory_is_moved_away_leaves_nothing_either(
    daemon: Daemon, tmp_path: Path, *, there: bool
):
    top = tmp_path / "a/t"
    (top if there else top.parent).mkdir(parents=True)
    data = tar(*(entry(f"f{number}", bytes(20_000)) for number in range(100)))
    async with connection(daemon.port) as conn:
        headers = {**TAR, "Content-Length": str(len(data))}
        await conn.send(request("POST", f"/files/extract?path={top}", headers=headers))
        await conn.send(data[: len(data) // 2])
        await until(lambda: "f0" in map(os.path.basename, below(tmp_path)))
        (tmp_path / "a").rename(tmp_path / "moved")
        conn.reset()
    expected = ["moved", "moved/t"] if there else ["moved"]
    await until(lambda: below(tmp_path) == expected)


async def test_archives_that_nobody_takes_to_their_end_hold_nothing(daemon: Daemon, tmp_path: Path):
    many_files(tmp_path / "t", 500)
    (tmp_path / "t/large").write_bytes(bytes(5_000_000))
    server = daemon.server_pid()
    assert (await exchange(daemon.port, "GET", f"/files/archive?path={tmp_path}/t")).status == 200
    before = descriptors(server)
    for number in range(20):
        async with connection(daemon.port, receive_buffer_bytes=4096) as conn:
            await conn.send(request("GET", f"/files/archive?path={tmp_path}/t&format={('tar', 'tar.gz')[number % 2]}"))
            await conn.read_head()
            conn.reset()
    await until(lambda: descriptors(server) <= before)


@pytest.mark.slow
async def test_a_server_that_is_killed_leaves_nothing_for_long(tmp_path: Path):
    top = tmp_path / "t"
    top.mkdir()
    (top / "f0").write_bytes(b"old")
    data = tar(*(entry(f"f{number}", bytes(20_000)) for number in range(300)))
    chance = random.Random(5)
    async with running_daemon() as daemon:
        for path in ("t", "new") * 3:
            assert (await exchange(daemon.port, "GET", "/health")).status == 204
            async with connection(daemon.port) as conn:
                headers = {**TAR, "Content-Length": str(len(data) + 1)}
                with suppress(ConnectionError):
                    await conn.send(request("POST", f"/files/extract?path={tmp_path}/{path}", headers=headers))
                    await conn.send(data[: chance.randrange(len(data))])
                await asyncio.to_thread(daemon.kill_server)
        assert (await exchange(daemon.port, "GET", "/health")).status == 204
        await until(lambda: (os.listdir(tmp_path), os.listdir(top)) == (["t"], ["f0"]))
        assert (top / "f0").read_bytes() == b"old"
        answer(await extract(daemon, top, data))


@pytest.mark.slow
async def test_a_server_killed_while_files_take_their_places_leaves_each_old_or_new(in_memory: Path):
    old, new = b"o" * 5000, b"n" * 5000
    names = [f"f{number}" for number in range(1000)]
    data = tar(*(entry(name, new) for name in names))
    chance = random.Random(6)
    async with running_daemon() as daemon:
        for _ in range(3):
            top = in_memory / "t"
            shutil.rmtree(top, ignore_errors=True)
            top.mkdir()
            for name in names:
                (top / name).write_bytes(old)
            work = asyncio.create_task(_quietly(extract(daemon, top, data)))
            await until(lambda top=top: any(_is_new(top / name, new) for name in (names[0], names[-1])))
            await asyncio.sleep(chance.random() * 0.03)  # some instant or other
            await asyncio.to_thread(daemon.kill_server)
            await work
            await until(lambda top=top: len(os.listdir(top)) == len(names))
            assert {(top / name).read_bytes() for name in names} <= {old, new}


def _is_new(path: Path, new: bytes) -> bool:
    return path.read_bytes() == new


async def _quietly(work) -> None:
    with suppress(EOFError, ConnectionError):
        await work


# Trees that change.


CHURN = """
import os, shutil, sys
top = sys.argv[1]
print(flush=True)
while True:
    for number in range(20):
        directory = f"{top}/d{number}"
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        for name in range(20):
            with open(f"{directory}/f{name}", "w") as file:
                file.write(f"{number} {name} " * 100)
"""


@pytest.mark.slow
async def test_a_tree_that_is_removed_and_made_again_gives_no_wrong_archive(archives: Archives, in_memory: Path):
    top = in_memory / "t"
    top.mkdir()
    churn = subprocess.Popen([sys.executable, "-c", CHURN, top], stdout=subprocess.PIPE)
    assert churn.stdout is not None
    try:
        churn.stdout.readline()
        vanished = rounds = 0
        async with asyncio.timeout(60):
            while not vanished or rounds < 20:
                rounds += 1
                archived = await archives.archive(top)
                vanished += archived.end.left_out_count
                assert {one.reason for one in archived.end.left_out} <= {pb.ArchiveResponse.LeftOut.REASON_VANISHED}
                _check_churned(archived.data)
                await archives.extract(in_memory / "copy", archived.data)
    finally:
        churn.kill()
        churn.wait()
        churn.stdout.close()


def _check_churned(data: bytes) -> None:
    """Each file is as it was at one moment: not written yet, or whole."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive.getmembers():
            if member.isfile():
                number, name = member.name[1:].split("/f")
                content = archive.extractfile(member)
                assert content is not None
                assert content.read() in (b"", f"{number} {name} ".encode() * 100)


async def test_a_file_that_becomes_shorter_ends_the_archive_with_its_name(daemon: Daemon, tmp_path: Path):
    (tmp_path / "large").write_bytes(bytes(50_000_000))

    async def cut(archives: Archives) -> None:
        async with archives.archiving(tmp_path) as messages:
            async for message in messages:
                if message.HasField("chunk"):
                    os.truncate(tmp_path / "large", 10)

    async with connect_proto(daemon.port) as wire:
        with pytest.raises(RpcError) as error:
            await cut(Archives(wire))
    assert error.value.code == "aborted"
    assert "large became shorter" in error.value.message


async def test_a_file_that_grows_is_as_long_as_it_was(daemon: Daemon, tmp_path: Path):
    path = tmp_path / "large"
    path.write_bytes(bytes(50_000_000))
    data = bytearray()
    async with connect_proto(daemon.port) as wire, Archives(wire).archiving(tmp_path) as messages:
        async for message in messages:
            if message.HasField("chunk"):
                data += message.chunk.data
                with path.open("ab") as file:
                    file.write(b"more")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("large").size == 50_000_000


UNPRIVILEGED = """
import sys
from envd.filesystem.archive.stream import ArchiveRequest, open_stream
from envd.host.users import User
uid = int(sys.argv[2])
stream = open_stream(ArchiveRequest(sys.argv[1], User("somebody", uid, uid, (uid,), "/")))
while stream.next_run():
    pass
stream.close()
print(stream.inventory.entries, sorted((one.name, one.reason.name, one.errno) for one in stream.inventory.left_out))
"""


async def test_what_may_not_be_read_is_left_out_and_told(other_user):
    top = Path(other_user.pw_dir) / "t"
    for name in ("closed", "open"):
        (top / name).mkdir(parents=True)
    (top / "secret").write_bytes(b"x")
    for name in ("secret", "closed"):
        (top / name).chmod(0)
    top.parent.chmod(0o755)
    command = [sys.executable, "-c", UNPRIVILEGED, str(top), str(other_user.pw_uid)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "2 [('closed', 'UNREADABLE', 13), ('secret', 'UNREADABLE', 13)]\n", done.stderr
    shutil.rmtree(top)


async def test_without_root_everything_works_for_the_own_user(other_user):
    home = Path(other_user.pw_dir) / "mine"
    home.mkdir()
    os.chown(home, other_user.pw_uid, other_user.pw_gid)
    data = tar(
        entry("locked", kind=tarfile.DIRTYPE, mode=0o555),
        entry("locked/in/file", b"x"),
        entry("d", kind=tarfile.DIRTYPE, mode=0),
        entry("d/file", b"x", uid=5),
    )
    arguments = ("--port", "0", "--listen", "127.0.0.1")
    async with running_daemon(*arguments, user=other_user.pw_name) as daemon, connect_proto(daemon.port) as wire:
        archives = Archives(wire)
        for name in ("new", "."):
            await archives.extract(home / name, data)
        for cut in (3000, 2000):
            with pytest.raises(RpcError):
                await archives.extract(home / "cut", data[:cut])
        with pytest.raises(RpcError) as error:
            await archives.extract(home / "cut", data, ownership=pb.ARCHIVE_OWNERSHIP_NUMBERS)
        assert error.value.code == "permission_denied"
        assert sorted(os.listdir(home)) == ["d", "locked", "new"]
        assert [oct((home / name).stat().st_mode) for name in ("locked", "new/d")] == ["0o40555", "0o40000"]
        assert (home / "locked/in/file").stat().st_uid == other_user.pw_uid
    shutil.rmtree(home)


# Much of it.


async def test_thousands_of_files_and_no_waiting_for_the_others(archives: Archives, in_memory: Path):
    source = many_files(in_memory / "source", 5000, 100)
    done = asyncio.Event()
    async with connect_proto(archives.wire.port) as wire, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_count_of_stat(Files(wire), source, done))
        archived = await archives.archive(source)
        await archives.extract(in_memory / "copy", archived.data)
        await archives.extract(in_memory / "copy", archived.data)
        done.set()
    assert archived.end.entries == 5051
    # One for each hundred entries, at least: nobody waits for more than a few of them.
    assert asking.result() > 3 * 5000 // 100
    count = sum(len(files) for _, _, files in os.walk(in_memory / "copy"))
    assert count == 5000
    assert (in_memory / "copy/d7/f777").read_bytes() == (source / "d7/f777").read_bytes()


async def _count_of_stat(files: Files, path: Path, done: asyncio.Event) -> int:
    """How many calls of Stat were answered, one after the other."""
    count = 0
    while not done.is_set():
        await files.stat(path)
        count += 1
    return count


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_archive(tmp_path: Path):
    size, piece = 200 << 20, os.urandom(1 << 20)
    info = tarfile.TarInfo("large")
    info.size = size
    sent = hashlib.sha256(info.tobuf())
    async with running_daemon() as daemon, connect_proto(daemon.port) as wire:
        archives = Archives(wire)
        await archives.extract(tmp_path / "small", tar(entry("f", b"x")))
        await archives.archive(tmp_path / "small")
        before = peak_bytes(daemon.server_pid())

        async def pieces() -> AsyncIterator[bytes]:
            yield info.tobuf()
            for _ in range(size // len(piece)):
                sent.update(piece)
                yield piece
            yield bytes(1024)

        await archives.extract(tmp_path / "large", pieces())
        got = hashlib.sha256(info.tobuf())
        async with connection(daemon.port) as conn:
            await conn.send(request("GET", f"/files/archive?path={tmp_path}/large/large"))
            skip, left = 512, size
            async for data in conn.read_body(await conn.read_head()):
                content = data[skip:]
                skip -= min(skip, len(data))
                got.update(content[:left])
                left -= min(left, len(content))
        assert (left, got.digest()) == (0, sent.digest())
        assert peak_bytes(daemon.server_pid()) - before < 40 << 20


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


async def test_hard_links_between_directories_are_one_file_again(archives: Archives, tmp_path: Path):
    top = tmp_path / "t"
    for number in range(50):
        (top / f"d{number}").mkdir(parents=True)
        (top / f"d{number}/f").touch() if number == 0 else os.link(top / "d0/f", top / f"d{number}/f")
    archived = await archives.archive(top)
    await archives.extract(tmp_path / "copy", archived.data)
    assert (tmp_path / "copy/d7/f").stat().st_nlink == 50
    assert len(names_of(archived.data)) == 101
