"""Uploads that go wrong: whatever was there stays as it was, and nothing is left beside it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from envd.config import Config, Limits
from envd_proto.filesystem.filesystem_pb2 import WriteRequest
from tests.support.connect import frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.disks import small_disk
from tests.support.faults import kill_server, peak_bytes, settled
from tests.support.files import FORM, OCTET, answer, compose, form, get, part, post_form, put, refusal, target
from tests.support.http1 import connection, exchange, request
from tests.support.readers import configured

OLD = os.urandom(3_000_000)
LENGTH = 20_000_000
PIECE = os.urandom(1 << 20)
LARGE = 200 * len(PIECE)
WRITE = "application/connect+proto"


@pytest.fixture(scope="module")
def impatient() -> Iterator[Daemon]:
    with configured(Config(limits=Limits(body_idle_s=1.0))) as started:
        yield started


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "old"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


async def until_unchanged(path: Path) -> None:
    """Wait until only the old file is there, with its old content."""
    async with asyncio.timeout(60):
        while os.listdir(path.parent) != [path.name]:
            await asyncio.sleep(0.01)
    assert path.read_bytes() == OLD


async def send_part(port: int, path: Path, kind: str, sent: int, *, length: int = LENGTH) -> None:
    """Begin an upload, send so many bytes of it, and be gone."""
    headers = {"Content-Type": kind, "Content-Length": str(length)}
    url, begin, piece = target(path), b"", PIECE
    if kind is FORM:
        begin = part(b"").removesuffix(b"\r\n")
    if kind is WRITE:
        options = WriteRequest(options=WriteRequest.Options(path=str(path)))
        url, begin = "/filesystem.Filesystem/Write", frame(options.SerializeToString())
        piece = frame(WriteRequest(chunk=PIECE).SerializeToString())
    async with connection(port) as conn:
        with suppress(ConnectionError):
            await conn.send(request("POST", url, headers=headers) + begin)
            while sent > 0:
                await conn.send(piece[:sent])
                sent -= len(piece)
        conn.reset()


@pytest.mark.parametrize("kind", [OCTET, FORM], ids=["octet", "form"])
async def test_a_client_that_dies_at_any_byte_changes_nothing(daemon: Daemon, old: Path, kind):
    chance = random.Random(3)
    for _ in range(25):
        await send_part(daemon.port, old, kind, chance.randrange(LENGTH))
        assert (await exchange(daemon.port, "GET", "/health")).status == 204
        assert old.read_bytes() == OLD
    await until_unchanged(old)


@pytest.mark.slow
async def test_a_server_that_is_killed_leaves_the_old_content_and_nothing_else(old: Path):
    chance = random.Random(5)
    async with running_daemon() as daemon:
        for round_ in range(20):
            kind = (OCTET, FORM)[round_ % 2]
            upload = asyncio.create_task(send_part(daemon.port, old, kind, LENGTH - 1))
            await asyncio.sleep(chance.random() * 0.02)
            await asyncio.to_thread(daemon.kill_server)
            await upload
            assert contents(old.parent) == {"old": OLD}
        answer(await put(daemon.port, old, b"new"))
        assert old.read_bytes() == b"new"


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "large" / "file"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.writelines([PIECE] * (LARGE // len(PIECE)))
    yield path
    path.unlink()


def untouched(path: Path) -> bool:
    """True if the large file is there with its content."""
    with path.open("rb") as file:
        pieces = iter(partial(file.read, len(PIECE)), b"")
        return path.stat().st_size == LARGE and all(piece == PIECE for piece in pieces)


@pytest.mark.slow
async def test_fifty_clients_that_die_in_a_large_overwrite_change_nothing(daemon: Daemon, large: Path):
    chance = random.Random(13)
    for round_ in range(50):
        kind = (OCTET, FORM, WRITE)[round_ % 3]
        await send_part(daemon.port, large, kind, chance.randrange(LARGE), length=2 * LARGE)
        assert untouched(large)
    assert await settled(lambda: os.listdir(large.parent), lambda names: len(names) == 1) == ["file"]


@pytest.mark.slow
async def test_twenty_servers_killed_in_a_large_overwrite_change_nothing(large: Path):
    chance = random.Random(17)
    async with running_daemon() as daemon:
        for round_ in range(20):
            kind = (OCTET, FORM, WRITE)[round_ % 3]
            upload = asyncio.create_task(send_part(daemon.port, large, kind, LARGE, length=2 * LARGE))
            await asyncio.sleep(chance.random() * 0.12)
            await kill_server(daemon)
            await upload
            assert untouched(large)
            assert await settled(lambda: os.listdir(large.parent), lambda names: len(names) == 1) == ["file"]


@pytest.mark.line(161)
async def test_a_full_disk_is_told_and_leaves_the_old_content(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        path = disk / "old"
        path.write_bytes(OLD)
        large = os.urandom(9_000_000)
        message = refusal(await put(daemon.port, path, large), 507)
        assert message == "attempted to write 9000000 bytes: not enough disk space available"
        assert "not enough disk space available" in refusal(
            await post_form(daemon.port, form([part(large)]), path), 507
        )
        chunks = [large[at : at + 100_000] for at in range(0, len(large), 100_000)]
        headers = {"Content-Type": OCTET}
        message = refusal(await exchange(daemon.port, "POST", target(path), headers=headers, chunks=chunks), 507)
        assert message == "not enough disk space available"
        assert contents(disk) == {"old": OLD}
        (tmp_path / "source").write_bytes(large)
        wish = {"source_paths": [tmp_path / "source"], "destination": disk / "all"}
        assert "not enough disk space available" in refusal(await compose(daemon.port, wish), 507)
        assert contents(disk) == {"old": OLD}
        assert (tmp_path / "source").exists()
        path.unlink()
        answer(await put(daemon.port, path, OLD[:2_000_000]))
        assert contents(disk) == {"old": OLD[:2_000_000]}


@pytest.mark.line(161)
async def test_a_disk_without_inodes_is_told(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=8m,nr_inodes=4") as disk:
        for name in ("a", "b", "c"):
            (disk / name).touch()
        assert "not enough inodes available" in refusal(await put(daemon.port, disk / "d", b"x"), 507)
        assert "not enough inodes available" in refusal(await put(daemon.port, disk / "sub" / "d", b"x"), 507)
        assert contents(disk) == {"a": b"", "b": b"", "c": b""}
        (disk / "c").unlink()
        answer(await put(daemon.port, disk / "d", b"x"))


async def test_a_client_that_stops_sending_is_told_so(impatient: Daemon, old: Path):
    async def stall(kind: str, sent: int) -> None:
        async with connection(impatient.port) as conn:
            headers = {"Content-Type": kind, "Content-Length": str(LENGTH)}
            await conn.send(request("POST", target(old), headers=headers) + part(b"x" * sent))
            assert refusal(await conn.read_response(), 504) == "no byte of the request body for 1 s"

    async with asyncio.TaskGroup() as tasks:
        for kind in (OCTET, FORM):
            for sent in (0, 100, 2_000_000):
                tasks.create_task(stall(kind, sent))
    await until_unchanged(old)


async def test_a_client_that_ends_too_early_is_told_so(daemon: Daemon, old: Path):
    for sent in (0, 100, 2_000_000):
        async with connection(daemon.port) as conn:
            headers = {"Content-Type": OCTET, "Content-Length": str(LENGTH)}
            await conn.send(request("POST", target(old), headers=headers) + PIECE[:sent])
            conn.half_close()
            refusal(await conn.read_response(), 400)
    await until_unchanged(old)


async def test_a_large_upload_that_is_refused_hears_why_while_it_still_sends(daemon: Daemon, tmp_path: Path):
    async with connection(daemon.port) as conn:
        headers = {"Content-Type": OCTET, "Content-Length": str(10 * LENGTH)}
        await conn.send(request("POST", target(tmp_path), headers=headers))
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send_until_refused(conn))
            assert "path is a directory" in refusal(await conn.read_response(), 400)
            sending.cancel()


async def _send_until_refused(conn) -> None:
    with suppress(ConnectionError):
        for _ in range(10 * LENGTH // len(PIECE)):
            await conn.send(PIECE)


async def test_readers_see_the_old_file_or_the_new_one_never_a_mixture(daemon: Daemon, old: Path):
    new = os.urandom(len(OLD))
    seen = set()

    async def write() -> None:
        for round_ in range(20):
            answer(await put(daemon.port, old, (new, OLD)[round_ % 2]))

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(write())
        while not writing.done():
            seen.add((await get(daemon.port, old)).body)
    assert seen <= {OLD, new}


async def test_uploads_of_one_path_at_once_leave_one_of_them_whole(daemon: Daemon, old: Path):
    versions = [os.urandom(1_000_000) for _ in range(8)]
    async with asyncio.TaskGroup() as tasks:
        for version in versions:
            tasks.create_task(put(daemon.port, old, version))
    assert old.read_bytes() in versions
    assert os.listdir(old.parent) == ["old"]


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}], ids=["plain", "gzip"])
async def test_a_client_that_stops_reading_is_left_in_the_end(impatient: Daemon, tmp_path: Path, headers):
    (tmp_path / "large").write_bytes(os.urandom(50_000_000))
    async with connection(impatient.port, receive_buffer_bytes=65536) as conn:
        await conn.send(request("GET", target(tmp_path / "large"), headers=headers))
        await conn.read_head()
        await asyncio.sleep(2)  # what is waited for is that nothing happens
        assert len(await conn.read_to_end()) < 50_000_000


@pytest.mark.parametrize("kind", [OCTET, FORM], ids=["octet", "form"])
@pytest.mark.slow
async def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind):
    size = 200 << 20
    sent, got = hashlib.sha256(), hashlib.sha256()
    async with running_daemon() as daemon, connection(daemon.port) as conn:
        begin, end = (form([part(b"|")]).split(b"|")) if kind is FORM else (b"", b"")
        headers = {"Content-Type": kind, "Content-Length": str(len(begin) + size + len(end))}
        answer(await put(daemon.port, tmp_path / "small", b"x"))
        before = peak_bytes(daemon.server_pid())
        await conn.send(request("POST", target(tmp_path / "large"), headers=headers) + begin)
        for _ in range(size // len(PIECE)):
            sent.update(PIECE)
            await conn.send(PIECE)
        await conn.send(end)
        answer(await conn.read_response())
        await conn.send(request("GET", target(tmp_path / "large")))
        head = await conn.read_head()
        assert head.headers["Content-Length"] == str(size)
        left = size
        while left:
            piece = await conn.read_some()
            got.update(piece)
            left -= len(piece)
        assert got.digest() == sent.digest()
        assert peak_bytes(daemon.server_pid()) - before < 32 << 20
