"""HTTP/2 in bad faith: floods, garbage, silence and vanishing. Whatever one client does, the others are served."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import grpc
import pytest

from envd.config import Config, Limits
from envd_proto.process.process_pb2 import ConnectRequest, ListRequest, ListResponse, StartResponse
from tests.support.connect import Client, Codec
from tests.support.daemon import ROOT, Daemon
from tests.support.frames import frame, frames_from
from tests.support.grpc import Grpc
from tests.support.http1 import Connection, connection, request
from tests.support.http2 import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    call_fields,
    h2_frame,
    integer,
    literal,
    settings,
)
from tests.support.kernel import is_running
from tests.support.process import CONNECT, LIST, SEND_INPUT, START, STREAM_INPUT, Processes, pid, shell, start_request
from tests.support.readers import MIB, at_rest, configured, descriptors, resident_bytes, until
from tests.support.wires import RpcError

HEALTH = request("GET", "/health")
HALF_REQUEST = HEALTH[:-4]
SETTINGS_FRAME = settings()
CANCEL_PAYLOAD = struct.pack(">I", CANCEL)
# What a flood may cost beyond what stays after any use.
ROOM = 96 * MIB


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon that is going to be hurt; what its log says is not looked at."""
    started = Daemon.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def impatient() -> Iterator[Daemon]:
    with configured(Config(limits=Limits(header_s=3.0, body_idle_s=3.0))) as started:
        yield started


@asynccontextmanager
async def others_are_served(daemon: Daemon) -> AsyncIterator[None]:
    """A second and a third client, over HTTP/1.1 and gRPC, get answers all the while; the server stays the same."""
    server = daemon.server_pid()
    over = asyncio.Event()

    async def ask(wire: Client | Grpc, *, answered: asyncio.Event) -> None:
        while not over.is_set() or not answered.is_set():
            async with asyncio.timeout(60):
                await wire.unary(LIST, ListRequest(), ListResponse)
            answered.set()
            await asyncio.sleep(0.05)  # a pace

    async with Grpc.open(daemon.port) as native, asyncio.TaskGroup() as tasks:
        for wire in (Client(daemon.port, Codec.PROTO), native):
            answered = asyncio.Event()
            tasks.create_task(ask(wire, answered=answered))
            await answered.wait()
        yield
        over.set()
    assert daemon.server_pid() == server


@asynccontextmanager
async def opened(daemon: Daemon, *pairs: tuple[int, int]) -> AsyncIterator[Http2]:
    """A connection on which both sides have said hello."""
    async with connection(daemon.port) as conn:
        client = Http2(conn, *pairs)
        await conn.send(client.opening)
        await client.until_ack_of_ping()
        yield client


async def send_what_is_taken(conn: Connection, data: bytes) -> bool:
    """Send all of it, or as much as the server takes before it closes or stops reading; True if it took all."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(60):
            await loop.sock_sendall(conn.socket, data)
    except (ConnectionError, TimeoutError):
        return False
    return True


async def reading_along(conn: Connection) -> int:
    """Read and drop until the server closes; return how many bytes that were."""
    size = 0
    with suppress(ConnectionError, TimeoutError):
        while piece := await conn.read_some():
            size += len(piece)
    return size


def call_block(method: str = LIST, *, stream: int) -> bytes:
    return h2_frame(HEADERS, call_fields(method), flags=END_HEADERS, stream=stream)


# Garbage and silence


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 100_000,
        b"\0" * 100_000,
        random.Random(1).randbytes(100_000),
        h2_frame(DATA, b"x", stream=1),
        h2_frame(CONTINUATION, b"x", flags=END_HEADERS, stream=1),
        h2_frame(SETTINGS, b"12345"),
        h2_frame(HEADERS, b"\xff" * 100, flags=END_HEADERS, stream=1),
        SETTINGS_FRAME + h2_frame(HEADERS, call_fields(LIST), flags=END_HEADERS, stream=2),
        SETTINGS_FRAME + h2_frame(HEADERS, b"\xbf\xff\xff\xff\xff\xff\x0f", flags=END_HEADERS, stream=1),
        SETTINGS_FRAME + b"\xff\xff\xff" + struct.pack(">BBI", DATA, 0, 1) + b"x" * 100_000,
        SETTINGS_FRAME + h2_frame(WINDOW_UPDATE, struct.pack(">I", 2**31 - 1)) * 2,
        SETTINGS_FRAME + h2_frame(PING, b"short"),
        SETTINGS_FRAME + h2_frame(HEADERS, b"\x20", flags=END_HEADERS | 0x8, stream=1),
    ],
    ids=[
        "http/1.1",
        "ones",
        "zeros",
        "noise",
        "data without a stream",
        "continuation of nothing",
        "odd settings",
        "no header table",
        "an even stream",
        "a huge index",
        "a huge frame",
        "a window too large",
        "a short ping",
        "more padding than frame",
    ],
)
async def test_garbage_behind_the_preface_ends_the_connection(daemon: Daemon, garbage):
    async with others_are_served(daemon), connection(daemon.port) as conn:
        await send_what_is_taken(conn, PREFACE + garbage)
        # The server may wait for the rest of what garbage announces; a client's end settles that.
        conn.half_close()
        await reading_along(conn)


BEGINNINGS = {
    "a word": PREFACE[:3],
    "a line": PREFACE[:15],
    "nearly a preface": PREFACE[:-1],
    "a preface": PREFACE,
    "half settings": PREFACE + SETTINGS_FRAME[:5],
    "half a frame head": PREFACE + SETTINGS_FRAME + call_block(stream=1)[:7],
    "half a header block": PREFACE + SETTINGS_FRAME + call_block(stream=1)[:20],
    "a header block without its end": PREFACE + SETTINGS_FRAME + h2_frame(HEADERS, call_fields(LIST), stream=1),
}


async def test_silence_before_the_first_call_is_there_ends_the_connection(impatient: Daemon):
    """All at once, to share the wait."""
    still_open = set(BEGINNINGS)

    async def fall_silent(name: str) -> None:
        async with connection(impatient.port) as conn:
            await conn.send(BEGINNINGS[name])
            await conn.read_to_end()
        still_open.remove(name)

    async with others_are_served(impatient):
        await asyncio.gather(*map(fall_silent, BEGINNINGS), return_exceptions=True)
    assert not still_open


async def test_a_header_that_comes_one_byte_a_second_ends_the_connection(impatient: Daemon):
    async def trickle(conn: Connection) -> None:
        with suppress(ConnectionError):
            for byte in call_block(stream=1):
                await conn.send(bytes((byte,)))
                await asyncio.sleep(0.3)  # the pace of the attack

    async with others_are_served(impatient), connection(impatient.port) as conn:
        await conn.send(PREFACE + SETTINGS_FRAME)
        task = asyncio.create_task(trickle(conn))
        await conn.read_to_end()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_call_whose_message_does_not_come_ends(impatient: Daemon):
    async with others_are_served(impatient), opened(impatient) as client:
        await client.connection.send(call_block(LIST, stream=1) + call_block(START, stream=3))
        await client.connection.send(h2_frame(DATA, frame(b"x" * 100)[:20], stream=3))
        over: set[int] = set()
        while over < {1, 3}:
            found = await client.next_frame()
            assert found.kind != DATA
            if found.kind == RST_STREAM or found.flags & END_STREAM and found.stream:
                over.add(found.stream)


async def test_an_input_stream_may_be_silent_for_longer_than_that(impatient: Daemon):
    async with others_are_served(impatient), opened(impatient) as client:
        await client.connection.send(call_block(STREAM_INPUT, stream=1) + call_block(LIST, stream=3))
        while (await client.next_frame()).stream != 3:
            pass
        await client.connection.send(h2_frame(DATA, b"", flags=END_STREAM, stream=1))
        assert DATA in {part.kind for part in await client.response(1)}


# Many connections


async def test_connections_beyond_the_limit_are_refused_whatever_they_speak():
    with configured(Config(limits=Limits(connections=40))) as few:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(opened(few)) for _ in range(40)]
            for client in clients:  # those that nobody knows would make room
                await client.connection.send(client.call(1, "process.Process/List", frame(b"")))
                assert await client.response(1)
            async with connection(few.port) as conn:
                await conn.send(Http2(conn).opening)
                assert (await conn.read_to_end()).startswith(b"HTTP/1.1 503 ")
            for client in clients:
                await client.until_ack_of_ping()
        async with asyncio.timeout(60), Grpc.open(few.port) as wire:
            while True:
                with suppress(RpcError):
                    await wire.unary(LIST, ListRequest(), ListResponse)
                    break


async def one_of_many(daemon: Daemon, number: int) -> None:
    """Open a connection, begin with something, and go away in one of several ways."""
    first = (
        HEALTH,
        HALF_REQUEST,
        b"",
        PREFACE,
        PREFACE[:10],
        PREFACE + SETTINGS_FRAME + call_block(stream=1),
        PREFACE + SETTINGS_FRAME + call_block(stream=1) + h2_frame(DATA, frame(b""), flags=END_STREAM, stream=1),
        PREFACE + SETTINGS_FRAME + call_block(stream=1)[:30],
    )[number % 8]
    with suppress(ConnectionError):
        async with connection(daemon.port) as conn:
            await conn.send(first)
            if number % 8 in (0, 6) and number % 3:
                await conn.read_some()
            if number % 5 == 0:
                conn.reset()


async def many(daemon: Daemon, numbers: range) -> None:
    for number in numbers:
        await one_of_many(daemon, number)


@pytest.mark.timeout(240)
@pytest.mark.slow
async def test_ten_thousand_connections_that_are_dropped_leave_nothing_behind(daemon: Daemon):
    server = daemon.server_pid()
    async with others_are_served(daemon):
        await many(daemon, range(2000))  # what stays after any use
    fds = await at_rest(lambda: descriptors(server))
    resident = resident_bytes(server)
    async with others_are_served(daemon), asyncio.TaskGroup() as tasks:
        for lane in range(20):
            tasks.create_task(many(daemon, range(lane, 10_000, 20)))
    await until(lambda: descriptors(server) <= fds + 4)
    # What is free is given back a few seconds later. The library's arenas still grow a little; what a connection needs
    # while it is open would be far more.
    await until(lambda: resident_bytes(server) - resident < ROOM)


# Floods


async def flood(daemon: Daemon, piece: bytes, count: int, *, read: bool = True) -> None:
    """Send a piece again and again, with or without reading what comes back."""
    server = daemon.server_pid()
    async with others_are_served(daemon):
        resident = resident_bytes(server)
        async with opened(daemon) as client:
            at_once = max(65536 // len(piece), 1)
            reader = asyncio.create_task(reading_along(client.connection)) if read else None
            for _ in range(count // at_once):
                if not await send_what_is_taken(client.connection, piece * at_once):
                    break
            assert resident_bytes(server) - resident < ROOM
            if reader is not None:
                reader.cancel()
                with suppress(asyncio.CancelledError):
                    await reader


@pytest.mark.parametrize("read", [True, False], ids=["reading", "not reading"])
@pytest.mark.parametrize(
    "piece",
    [
        h2_frame(PING, b"12345678"),
        SETTINGS_FRAME,
        settings((INITIAL_WINDOW_SIZE, 65535), (INITIAL_WINDOW_SIZE, 0)),
        h2_frame(PRIORITY, struct.pack(">IB", 0, 1), stream=1),
        h2_frame(WINDOW_UPDATE, struct.pack(">I", 1)),
        h2_frame(DATA, b"", stream=1),
        h2_frame(RST_STREAM, CANCEL_PAYLOAD, stream=1),
        h2_frame(0x77, b"unknown"),
    ],
    ids=[
        "ping",
        "settings",
        "windows",
        "priority",
        "window updates",
        "empty data",
        "resets of nothing",
        "unknown kinds",
    ],
)
@pytest.mark.slow
async def test_a_flood_of_frames_is_borne_or_ended(daemon: Daemon, piece, read):
    await flood(daemon, piece, 200_000, read=read)


@pytest.mark.parametrize("method", [LIST, START, CONNECT, "no.such/Method"])
@pytest.mark.slow
async def test_a_flood_of_calls_that_are_reset_at_once_is_borne_or_ended(daemon: Daemon, method):
    server = daemon.server_pid()
    message = start_request("true").SerializeToString() if method == START else b""
    async with others_are_served(daemon):
        resident = resident_bytes(server)
        async with opened(daemon) as client:
            reader = asyncio.create_task(reading_along(client.connection))
            for first in range(1, 40_000, 200):
                burst = b"".join(
                    call_block(method, stream=stream)
                    + (h2_frame(DATA, frame(message), flags=END_STREAM, stream=stream) if stream % 4 == 1 else b"")
                    + h2_frame(RST_STREAM, CANCEL_PAYLOAD, stream=stream)
                    for stream in range(first, first + 200, 2)
                )
                if not await send_what_is_taken(client.connection, burst):
                    break
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        assert resident_bytes(server) - resident < ROOM


async def test_a_flood_of_calls_the_server_is_made_to_reset_is_borne_or_ended(daemon: Daemon):
    server = daemon.server_pid()
    async with others_are_served(daemon):
        resident = resident_bytes(server)
        async with opened(daemon) as client:
            reader = asyncio.create_task(reading_along(client.connection))
            for first in range(1, 40_000, 200):
                # A window that grows by nothing is an error of the stream: the server resets it, the call is under way.
                burst = b"".join(
                    client.call(stream, LIST, frame(b"")) + h2_frame(WINDOW_UPDATE, struct.pack(">I", 0), stream=stream)
                    for stream in range(first, first + 200, 2)
                )
                if not await send_what_is_taken(client.connection, burst):
                    break
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        assert resident_bytes(server) - resident < ROOM


@pytest.mark.parametrize("first", [2, 1], ids=["even numbers", "numbers that are over"])
async def test_a_flood_of_calls_that_cannot_be_costs_nothing(own_daemon: Daemon, first):
    server = own_daemon.server_pid()
    last = 2_000_001
    async with others_are_served(own_daemon), opened(own_daemon) as client:
        await client.connection.send(client.call(last, LIST, frame(b"")))
        await client.response(last)
        resident = resident_bytes(server)
        reader = asyncio.create_task(reading_along(client.connection))
        for begin in range(first, 400_000, 1000):
            burst = b"".join(call_block(stream=stream) for stream in range(begin, begin + 1000, 2))
            if not await send_what_is_taken(client.connection, burst):
                break
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
        assert resident_bytes(server) - resident < ROOM


@pytest.mark.parametrize("piece", [b"", literal("x", "y"), b"x" * 16000], ids=["empty", "small", "large"])
async def test_a_header_block_without_end_ends_the_connection(daemon: Daemon, piece):
    server = daemon.server_pid()
    async with others_are_served(daemon):
        resident = resident_bytes(server)
        async with opened(daemon) as client:
            await client.connection.send(h2_frame(HEADERS, call_fields(LIST), stream=1))
            part = h2_frame(CONTINUATION, piece, stream=1)
            burst = part * max(65536 // len(part), 1)
            sent = 0
            while await send_what_is_taken(client.connection, burst):
                sent += len(burst)
                assert sent < 256 * MIB
        assert resident_bytes(server) - resident < ROOM


@pytest.mark.parametrize("size", [100_000, 5_000_000])
async def test_a_header_block_that_is_too_large_is_refused(daemon: Daemon, size):
    block = call_fields(LIST, ("x-big", "x" * size))
    parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    data = h2_frame(HEADERS, parts[0], stream=1)
    data += b"".join(h2_frame(CONTINUATION, part, stream=1) for part in parts[1:-1])
    data += h2_frame(CONTINUATION, parts[-1], flags=END_HEADERS, stream=1)
    data += h2_frame(DATA, frame(b""), flags=END_STREAM, stream=1)
    async with others_are_served(daemon), opened(daemon) as client:
        await send_what_is_taken(client.connection, data)
        with suppress(EOFError, ConnectionError):
            # An error without a message, or the end of the connection.
            assert DATA not in {part.kind for part in await client.response(1)}


async def test_headers_of_thirty_kilobytes_are_no_trouble(daemon: Daemon):
    async with opened(daemon) as client:
        block = call_fields(LIST, *[(f"x-{number}", "x" * 1000) for number in range(30)])
        parts = [block[at : at + 16000] for at in range(0, len(block), 16000)]
        data = h2_frame(HEADERS, parts[0], stream=1)
        for part in parts[1:]:
            data += h2_frame(CONTINUATION, part, flags=END_HEADERS if part is parts[-1] else 0, stream=1)
        await client.connection.send(data + h2_frame(DATA, frame(b""), flags=END_STREAM, stream=1))
        assert DATA in {part.kind for part in await client.response(1)}


async def test_a_small_header_block_that_unpacks_to_a_huge_one_is_refused(daemon: Daemon):
    server = daemon.server_pid()
    async with others_are_served(daemon):
        resident = resident_bytes(server)
        async with opened(daemon) as client:
            # An entry as large as the table, then as many mentions of it as the block has bytes: 48 MB.
            await client.connection.send(
                h2_frame(
                    HEADERS,
                    call_fields(LIST) + literal("x-big", "x" * 4000, indexed=True) + integer(62, 7, 0x80) * 12_000,
                    flags=END_HEADERS | END_STREAM,
                    stream=1,
                )
            )
            with suppress(EOFError, ConnectionError):
                assert DATA not in {part.kind for part in await client.response(1)}
        assert resident_bytes(server) - resident < ROOM


# Messages


@pytest.mark.parametrize("parses", [True, False], ids=["refused by the method", "malformed"])
@pytest.mark.slow
async def test_large_messages_of_calls_that_fail_are_not_kept(own_daemon: Daemon, parses):
    size, server = 16 * MIB, own_daemon.server_pid()
    # A field nobody knows, of 2**24 bytes, and no program that it is for; or a program that is no message.
    message = (b"\xa2\x1f" + b"\x80\x80\x80\x08" if parses else b"\x0a\x04") + bytes(size)
    async with others_are_served(own_daemon), Grpc.open(own_daemon.port) as wire:
        call = wire.channel.unary_unary(f"/{SEND_INPUT}")
        with pytest.raises(grpc.RpcError):
            await call(message)
        resident = resident_bytes(server)
        for _ in range(24):
            with pytest.raises(grpc.RpcError):
                await call(message)
        assert resident_bytes(server) - resident < ROOM


# Readers


async def test_a_client_that_opens_no_window_costs_little_and_holds_up_nobody(daemon: Daemon):
    server, processes = daemon.server_pid(), Processes.on(daemon.port, Codec.PROTO)
    message = frame(start_request("head", "-c", str(16 * MIB), "/dev/zero", tag="windowless").SerializeToString())
    async with others_are_served(daemon):
        before = resident_bytes(server)
        async with opened(daemon, (INITIAL_WINDOW_SIZE, 0)) as client:
            for stream in range(1, 21, 2):
                await client.connection.send(client.call(stream, START, message))
            await client.until_ack_of_ping()
            outcome = await processes.run(start_request("head", "-c", str(16 * MIB), "/dev/zero"))
            assert len(outcome.stdout) == 16 * MIB
            # Ten programs whose output waits; what is kept of it is not in this count.
            assert resident_bytes(server) - before < ROOM


async def test_a_client_that_reads_nothing_costs_little_and_holds_up_nobody(daemon: Daemon):
    server, processes = daemon.server_pid(), Processes.on(daemon.port, Codec.PROTO)
    message = frame(start_request("head", "-c", str(64 * MIB), "/dev/zero").SerializeToString())
    async with others_are_served(daemon):
        before = resident_bytes(server)
        async with opened(daemon, (INITIAL_WINDOW_SIZE, 2**31 - 1)) as client:
            for stream in (1, 3):
                await client.connection.send(client.call(stream, START, message))
            for _ in range(2):
                outcome = await processes.run(start_request("head", "-c", str(16 * MIB), "/dev/zero"))
                assert len(outcome.stdout) == 16 * MIB
            assert resident_bytes(server) - before < ROOM


# Going away


async def test_a_goodbye_in_the_middle_of_a_stream_ends_neither_stream_nor_program(daemon: Daemon):
    processes = Processes.on(daemon.port, Codec.PROTO)
    async with others_are_served(daemon), opened(daemon) as client:
        await client.connection.send(client.call(1, START, frame(shell("echo on; exec cat").SerializeToString())))
        body = b""
        while b"on\n" not in body:
            found = await client.next_frame()
            body += found.payload if found.kind == DATA else b""
        number = StartResponse.FromString(frames_from(body)[0].payload).event.start.pid
        await client.connection.send(h2_frame(GOAWAY, struct.pack(">II", 0, 0)))
        await processes.send_input(pid(number), b"still\n")
        async with processes.connect(pid(number)) as follower:
            while b"still\n" not in body and b"still\n" not in follower.seen.stdout:
                try:
                    found = await client.next_frame()
                except EOFError:
                    await follower.until(b"still\n")
                    break
                body += found.payload if found.kind == DATA else b""
        assert is_running(number)
        await processes.close_stdin(pid(number))


_CLIENT = """
import sys
import grpc
from envd_proto.process.process_pb2 import ProcessConfig, StartRequest, StartResponse
channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")
start = channel.unary_stream(
    "/process.Process/Start", request_serializer=StartRequest.SerializeToString,
    response_deserializer=StartResponse.FromString,
)
for response in start(StartRequest(process=ProcessConfig(cmd="cat"))):
    print(response.event.start.pid, flush=True)
"""


async def test_a_client_that_is_killed_leaves_a_program_that_is_listed_and_lives_on(daemon: Daemon):
    processes = Processes.on(daemon.port, Codec.PROTO)
    async with others_are_served(daemon):
        client = subprocess.Popen([sys.executable, "-c", _CLIENT, str(daemon.port)], cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert client.stdout is not None
            number = int(await asyncio.to_thread(client.stdout.readline))
        finally:
            client.send_signal(signal.SIGKILL)
            await asyncio.to_thread(client.wait)
            client.stdout.close()
        assert number in await processes.pids()
        await processes.send_input(pid(number), b"here\n")
        async with processes.connect(pid(number)) as follower:
            await follower.until(b"here\n")
            await processes.close_stdin(pid(number))
            assert (await follower.rest()).end.exit_code == 0


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR, None], ids=["fin", "close", "reset"])
async def test_a_connection_that_ends_in_the_middle_of_calls_leaves_their_programs_running(daemon: Daemon, how):
    processes = Processes.on(daemon.port, Codec.PROTO)
    async with others_are_served(daemon):
        async with opened(daemon) as client:
            numbers: set[int] = set()
            for stream in range(1, 21, 2):
                await client.connection.send(
                    client.call(stream, START, frame(start_request("cat").SerializeToString()))
                )
            while len(numbers) < 10:
                found = await client.next_frame()
                if found.kind == DATA and found.payload:
                    numbers.add(StartResponse.FromString(found.payload[5:]).event.start.pid)
            if how is None:
                client.connection.reset()
            else:
                client.connection.socket.shutdown(how)
        assert numbers <= await processes.pids()
        for number in numbers:
            await processes.close_stdin(pid(number))
            assert (await processes.replay(pid(number))).end.exit_code == 0


# Many streams


@pytest.mark.slow
async def test_a_thousand_streams_on_one_connection_all_get_everything(daemon: Daemon):
    async with others_are_served(daemon), Grpc.open(daemon.port) as wire, AsyncExitStack() as stack:
        processes = Processes(wire)
        program = await stack.enter_async_context(processes.start(start_request("cat")))
        followers = []
        async with asyncio.timeout(90):
            for _ in range(999):
                followers.append(await stack.enter_async_context(processes.connect(pid(program.pid))))
            await processes.send_input(pid(program.pid), b"all\n")
            await processes.close_stdin(pid(program.pid))
            for follower in (program, *followers):
                outcome = await follower.rest()
                assert (outcome.stdout, outcome.end.exit_code) == (b"all\n", 0)


async def test_more_streams_than_are_allowed_are_refused_one_by_one(daemon: Daemon):
    processes = Processes.on(daemon.port, Codec.PROTO)
    async with others_are_served(daemon), processes.start(start_request("cat")) as program, opened(daemon) as client:
        message = frame(ConnectRequest(process=pid(program.pid)).SerializeToString())
        reader = asyncio.create_task(reading_along(client.connection))
        for stream in range(1, 20_001, 2):
            if not await send_what_is_taken(client.connection, client.call(stream, CONNECT, message)):
                break
        await processes.send_input(pid(program.pid), b"on\n")
        await program.until(b"on\n")
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
