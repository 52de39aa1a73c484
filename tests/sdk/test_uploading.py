"""Large files on their way in: connections that break, servers that are killed, sources that fail."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import grpc
import pytest

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk import ConflictException, InvalidArgumentException, SandboxException, WriteOptions
from envd_sdk.uploads import LARGEST_PART_BYTES, WHOLE_BYTES
from tests.support.daemon import Daemon, running_daemon
from tests.support.proxy import proxy_to

pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024
CONTENT_BYTES = 200 * MIB
# What lies between the client's file and the proxy: frames of HTTP/2 and messages, and what the kernel had taken of a
# connection before it broke.
OVERHEAD = 1.01
UNDER_WAY = 16 * MIB


@cache
def large() -> bytes:
    """What most tests write. Not made while tests are collected, which every worker does."""
    return random.Random(7).randbytes(MIB) * (CONTENT_BYTES // MIB)


def pieces() -> Iterator[bytes]:
    for at in range(0, CONTENT_BYTES, 300_000):
        yield large()[at : at + 300_000]


SOURCES: dict[str, Callable[[], object]] = {
    "bytes": large,
    "file": lambda: io.BytesIO(large()),
    "iterable": pieces,
}


@pytest.fixture(params=list(SOURCES))
def source(request: pytest.FixtureRequest) -> Callable[[], object]:
    return SOURCES[request.param]


class Places:
    """Does something at random places of an upload, far enough apart for the one before to be over."""

    def __init__(self, seed: int, number: int, hurt: Callable[[], object]) -> None:
        chance, step = random.Random(seed), CONTENT_BYTES // number
        self._left = [step * index + chance.randrange(step * 2 // 3) for index in range(number)]
        self._hurt = hurt
        self.done = 0

    def __call__(self, sent: int) -> None:
        if self._left and sent >= self._left[0]:
            self._left.pop(0)
            self.done += 1
            self._hurt()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def alone(path: Path) -> bool:
    return [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.slow
async def test_a_cut_costs_at_most_a_part(concurrency, source, daemon: Daemon, tmp_path):
    path = tmp_path / "large"
    path.write_text("old")
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        cuts = Places(1, 4, lambda: loop.call_soon_threadsafe(proxy.cut))
        written = await concurrency.call(sandbox.files.write, str(path), source(), on_progress=cuts)
        assert cuts.done == 4
        assert (written.path, written.name) == (str(path), "large")
        assert digest_of(path) == hashlib.sha256(large()).hexdigest()
        assert alone(path)
        assert proxy.received <= CONTENT_BYTES * OVERHEAD + cuts.done * (LARGEST_PART_BYTES + UNDER_WAY)
        await concurrency.call(sandbox.close)


@pytest.mark.slow
async def test_a_killed_server_costs_at_most_a_part(concurrency, source, tmp_path):
    path = tmp_path / "large"
    async with running_daemon() as daemon, proxy_to(daemon.port) as proxy:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        threads: list[threading.Thread] = []

        def kill() -> None:
            for before in threads:
                before.join()
            threads.append(threading.Thread(target=daemon.kill_server))
            threads[-1].start()

        kills = Places(2, 3, kill)
        await concurrency.call(sandbox.files.write, str(path), source(), on_progress=kills)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert kills.done == 3
        assert digest_of(path) == hashlib.sha256(large()).hexdigest()
        assert alone(path)
        assert proxy.received <= CONTENT_BYTES * OVERHEAD + kills.done * (LARGEST_PART_BYTES + UNDER_WAY)
        await concurrency.call(sandbox.close)


async def test_a_source_that_waits_while_the_connection_breaks_is_read_once(concurrency, daemon: Daemon, tmp_path):
    """The thread that sent over the broken connection may still be asking for the next piece."""
    broken, size = threading.Event(), 40 * MIB
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()

        def cut() -> None:
            proxy.cut()
            # Behind what the cut makes the client do at once.
            loop.call_later(0.3, broken.set)

        def slow() -> Iterator[bytes]:
            for number in range(size // MIB):
                if number == 30:
                    loop.call_soon_threadsafe(cut)
                    if concurrency.name == "sync":
                        assert broken.wait(60)
                yield bytes([number]) * MIB

        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        await concurrency.call(sandbox.files.write, str(tmp_path / "slow"), slow())
        assert (tmp_path / "slow").read_bytes() == b"".join(bytes([number]) * MIB for number in range(size // MIB))
        await concurrency.call(sandbox.close)


async def test_an_iterable_of_middling_size_is_sent_again(concurrency, daemon: Daemon, tmp_path):
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        cuts = Places(3, 40, lambda: loop.call_soon_threadsafe(proxy.cut))
        source = (large()[at : at + 100_000] for at in range(0, 10 * MIB, 100_000))
        await concurrency.call(sandbox.files.write, str(tmp_path / "file"), source, on_progress=cuts)
        assert cuts.done
        assert (tmp_path / "file").read_bytes() == large()[: (10 * MIB + 99_999) // 100_000 * 100_000]
        await concurrency.call(sandbox.close)


@pytest.mark.parametrize("at", [0, 1000, WHOLE_BYTES + 10 * MIB], ids=["first", "small", "large"])
async def test_a_source_that_fails_leaves_what_was_there(concurrency, sandbox, tmp_path, at):
    path = tmp_path / "file"
    path.write_text("old")

    def failing() -> Iterator[bytes]:
        step = 1000 if at < MIB else 250_000
        for sent in range(0, at, step):
            yield large()[sent : sent + step]
        raise RuntimeError("the source is broken")

    with pytest.raises(RuntimeError, match="the source is broken"):
        await concurrency.call(sandbox.files.write, str(path), failing())
    assert path.read_text() == "old"
    assert alone(path)


async def test_an_upload_that_is_cancelled_leaves_what_was_there(daemon: Daemon, tmp_path):
    from envd_sdk import AsyncSandbox  # noqa: PLC0415 - only one half can be cancelled

    path = tmp_path / "file"
    path.write_text("old")
    async with await AsyncSandbox.connect_local(daemon.address) as sandbox:
        sending: asyncio.Task[object]

        def cancel(sent: int) -> None:
            if sent >= 100 * MIB:
                sending.cancel()

        sending = asyncio.create_task(sandbox.files.write(str(path), large(), on_progress=cancel))
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert path.read_text() == "old"
        assert alone(path)


async def test_a_large_file_is_written_under_the_same_conditions_as_a_small_one(concurrency, sandbox, tmp_path):
    path, content = tmp_path / "file", large()[: 20 * MIB]
    options = WriteOptions(mode=0o600, if_absent=True, sha256=hashlib.sha256(content).digest())
    written = await concurrency.call(
        sandbox.files.write, str(path), content, options=options, metadata={"Key": "value"}
    )
    found = await concurrency.call(sandbox.files.get_info, str(path))
    assert (written.metadata, found.metadata, found.mode, found.size) == (
        {"Key": "value"},
        {"Key": "value"},
        0o600,
        20 * MIB,
    )
    assert (written.name, written.path, written.type) == (found.name, found.path, found.type)
    with pytest.raises(ConflictException):
        await concurrency.call(sandbox.files.write, str(path), content, options=options)
    wrong = WriteOptions(sha256=bytes(32))
    with pytest.raises(SandboxException, match="sha256"):
        await concurrency.call(sandbox.files.write, str(path), content + b"x", options=wrong)
    with pytest.raises(InvalidArgumentException):
        await concurrency.call(sandbox.files.write, str(tmp_path), content)
    assert path.read_bytes() == content
    assert alone(path)


async def test_a_device_takes_a_large_content_too(concurrency, sandbox):
    assert (await concurrency.call(sandbox.files.write, "/dev/null", large()[: 20 * MIB])).path == "/dev/null"


async def test_a_large_content_can_be_appended(concurrency, sandbox, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"begin")
    options = WriteOptions(append=True)
    await concurrency.call(sandbox.files.write, str(path), large()[: 20 * MIB], options=options)
    await concurrency.call(sandbox.files.write, str(path), iter([b"e", "nd"]), options=options)
    assert path.read_bytes() == b"begin" + large()[: 20 * MIB] + b"end"


@asynccontextmanager
async def old_daemon(directory: Path):
    """A daemon that knows Write, and none of what came after it."""

    async def write(requests, _: object) -> fs.WriteResponse:
        path, content = None, io.BytesIO()
        async for request in requests:
            path = request.options.path or path
            content.write(request.chunk)
        assert path is not None
        await asyncio.to_thread(Path(path).write_bytes, content.getvalue())
        return fs.WriteResponse(entry=fs.EntryInfo(name=os.path.basename(path), path=path))

    handler = grpc.stream_unary_rpc_method_handler(
        write,
        request_deserializer=fs.WriteRequest.FromString,
        response_serializer=fs.WriteResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("filesystem.Filesystem", {"Write": handler}),)
    )
    server.add_insecure_port(f"unix:{directory}/socket")
    await server.start()
    try:
        yield f"unix:{directory}/socket"
    finally:
        await server.stop(None)


@pytest.mark.parametrize("size", [0, 100, 20 * MIB], ids=["empty", "small", "large"])
@pytest.mark.parametrize("kind", ["bytes", "iterable"])
async def test_an_older_daemon_gets_one_call(concurrency, tmp_path, size, kind):
    content = large()[:size]
    async with old_daemon(tmp_path) as address:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, address)
        data = content if kind == "bytes" else (content[at : at + 70_000] for at in range(0, size, 70_000))
        await concurrency.call(sandbox.files.write, str(tmp_path / "file"), data)
        assert (tmp_path / "file").read_bytes() == content
        await concurrency.call(sandbox.close)
