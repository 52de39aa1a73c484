"""Connections: too many, too slow, half open, dropped, and peers that are gone without a word."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import shutil
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from envd.config import Config, Limits, Output
from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, StartResponse
from tests.support.connect import Client, Codec, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import Connection, connection, exchange, request
from tests.support.kernel import exited, is_running
from tests.support.process import SEND_INPUT, START, Processes, pid, shell, start_request
from tests.support.readers import (
    MIB,
    Progress,
    Tap,
    at_rest,
    configured,
    configured_daemon,
    descriptors,
    pattern,
    printing,
    resident_bytes,
    tap_start,
    until,
)

HEALTH = request("GET", "/health")
CALL = request("POST", "/process.Process/List", headers={"Content-Type": "application/json"}, body=b"{}")
RST = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def few() -> Iterator[Daemon]:
    """A daemon that serves 40 connections and is impatient."""
    limits = Limits(connections=40, header_s=1.0, body_idle_s=1.0)
    with configured(Config(limits=limits)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def own_daemon() -> Iterator[Daemon]:
    started = Daemon.start()
    # The first HTTP/2 client loads a library, whose descriptors stay: it is not to be one that a test counts.
    with socket.create_connection(("127.0.0.1", started.port), timeout=60) as first:
        first.sendall(_STAGES["http2"] + b"\0\0\0\4\0\0\0\0\0")
        assert first.recv(1)
    yield started
    started.stop()


async def _open(stack: AsyncExitStack, port: int, count: int) -> list[Connection]:
    return [await stack.enter_async_context(connection(port)) for _ in range(count)]


async def _at_rest(process: int) -> int:
    """How many descriptors a process has once earlier connections are closed."""
    return await at_rest(lambda: descriptors(process), quiet_s=0.15)


# Too many.


def _connected(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(count)]


def _known(stack: ExitStack, port: int, count: int) -> list[socket.socket]:
    """Connections that keep their place: a call of theirs was let in that not everybody may make."""
    socks: list[socket.socket] = []
    for _ in range(count):
        socks += _connected(stack, port, 1)
        sock = socks[-1]
        sock.sendall(CALL)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    return socks


def _answer(sock: socket.socket) -> bytes:
    """Everything to the end of the connection."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


async def _healthy(daemon: Daemon) -> bool:
    try:
        return (await exchange(daemon.port, "GET", "/health")).status == 204
    except (OSError, EOFError):
        return False


async def _until_healthy(daemon: Daemon) -> None:
    async with asyncio.timeout(60):
        while not await _healthy(daemon):
            await asyncio.sleep(0.05)


async def test_connections_beyond_the_limit_are_refused_and_nothing_else_is_disturbed():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = min(Limits().connections, hard // 4)
    if hard < limit + 500:
        pytest.skip(f"this process may open {hard} descriptors: too few for {limit} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with running_daemon() as daemon:
        server, processes = daemon.server_pid(), Processes.on(daemon.port, Codec.PROTO)
        before = await _at_rest(server)
        resident = []
        async with processes.start(start_request("cat")) as program:
            for _ in range(2):
                with ExitStack() as stack:
                    idle = await asyncio.to_thread(_known, stack, daemon.port, limit - 1)
                    await until(lambda: descriptors(server) >= before + limit)
                    for _ in range(3):
                        [refused] = await asyncio.to_thread(_connected, stack, daemon.port, 1)
                        answer = await asyncio.to_thread(_answer, refused)
                        assert answer.startswith(b"HTTP/1.1 503 ")
                        assert b"\r\nConnection: close\r\n" in answer
                    for sock in (idle[0], idle[limit // 2], idle[-1]):
                        sock.sendall(HEALTH)
                        assert sock.recv(4096).startswith(b"HTTP/1.1 204 ")
                    assert is_running(program.pid)
                    resident.append(resident_bytes(server))
                await _until_healthy(daemon)
                await until(lambda: descriptors(server) <= before + 16)
            await processes.send_input(pid(program.pid), b"still here\n")
            await program.until(b"still here\n")
        # The journal and the ledger of the finished program are kept.
        await until(lambda: descriptors(server) <= before + 2)
        # The second time nothing is needed that was not there after the first.
        assert resident[1] - resident[0] < 8 * MIB


async def test_a_flood_beyond_the_limit_is_refused_with_bounded_means(few: Daemon):
    """256 refusals linger at most; those beyond are closed without an answer. All are closed in the end."""
    server = few.server_pid()
    await _until_healthy(few)
    before = await _at_rest(server)
    with ExitStack() as stack:
        served = await asyncio.to_thread(_known, stack, few.port, 40)
        await until(lambda: descriptors(server) >= before + 40)
        flood = await asyncio.to_thread(_connected, stack, few.port, 800)

        def answers() -> tuple[int, int]:
            refused = dropped = 0
            for sock in flood:
                try:
                    answer = _answer(sock)
                except ConnectionResetError:
                    answer = b""
                assert answer.startswith(b"HTTP/1.1 503 ") or not answer
                refused, dropped = refused + bool(answer), dropped + (not answer)
            return refused, dropped

        refused, _ = await asyncio.to_thread(answers)
        assert refused >= 256
        served[0].sendall(HEALTH)
        assert served[0].recv(4096).startswith(b"HTTP/1.1 204 ")
        await until(lambda: descriptors(server) <= before + 40)
    await until(lambda: descriptors(server) <= before)
    await _until_healthy(few)


# Too slow.


async def _drip(conn: Connection, data: bytes) -> bytes:
    """Send a byte at a time until the server answers or closes; what it said."""
    answer = asyncio.create_task(conn.read_to_end())
    try:
        async with asyncio.timeout(60):
            for byte in data:
                await conn.send(bytes([byte]))
                done, _ = await asyncio.wait([answer], timeout=0.1)
                if done:
                    break
            return await answer
    except ConnectionError:
        return await answer
    finally:
        answer.cancel()


async def test_a_request_head_that_drips_is_given_up(few: Daemon):
    async with connection(few.port) as conn:
        answer = await _drip(conn, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"y" * 500)
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")


async def test_a_second_request_head_that_drips_is_given_up_too(few: Daemon):
    async with connection(few.port) as conn:
        await conn.send(HEALTH)
        assert (await conn.read_response()).status == 204
        answer = await _drip(conn, b"GET /health HTTP/1.1\r\nX-Slow: " + b"y" * 500)
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")


async def test_half_a_request_head_is_answered_408(few: Daemon):
    async with connection(few.port) as conn:
        await conn.send(b"GET /health HTTP/1.1\r\nHost:")
        answer = await conn.read_to_end()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_unary_body_that_does_not_come_is_a_deadline(few: Daemon):
    client = Client(few.port, Codec.PROTO)
    async with connection(few.port) as conn:
        head = client.request(SEND_INPUT, b"x" * 100, streaming=False)[:-60]
        await conn.send(head)
        response = await conn.read_response()
    assert response.status == 504
    assert b"deadline_exceeded" in response.body


async def test_a_quiet_input_stream_is_not_given_up(few: Daemon):
    """A StreamInput request may be silent for as long as its client likes."""
    client, processes = Client(few.port, Codec.PROTO), Processes.on(few.port, Codec.PROTO)
    async with (
        processes.start(start_request("cat")) as program,
        connection(few.port) as conn,
        connection(few.port) as other,
    ):
        await conn.send(client.request("process.Process/StreamInput", None, streaming=True, chunks=[])[:-5])
        # The one beside it is given up, so the same check has seen both.
        await other.send(client.request(SEND_INPUT, b"x" * 100, streaming=False)[:-60])
        assert (await other.read_response()).status == 504
        await processes.send_input(pid(program.pid), b"on\n")
        await program.until(b"on\n")
        await conn.send(b"0\r\n\r\n")
        assert (await conn.read_response()).status == 200


# Half closed, reset, dropped.

_START = Client(0, Codec.PROTO).request(START, frame(start_request("/bin/true").SerializeToString()), streaming=True)
_STAGES = {
    "nothing": b"",
    "half a line": b"GET /hea",
    "half a head": b"GET /health HTTP/1.1\r\nHost: localhost\r\n",
    "a request": HEALTH,
    "half a body": _START[:-4],
    "a call": _START,
    "many calls": _START * 20,
    "a chunk": b"POST /process.Process/StreamInput HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/connect+proto\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("way", ["reset", "close", "half close"])
@pytest.mark.parametrize("sent", _STAGES.values(), ids=_STAGES)
async def test_a_connection_that_ends_at_any_stage_leaves_no_descriptor(own_daemon: Daemon, sent, way):
    server = own_daemon.server_pid()
    await _until_no_program(own_daemon)
    before = await _at_rest(server)
    with ExitStack() as stack:
        socks = await asyncio.to_thread(_connected, stack, own_daemon.port, 10)
        for sock in socks:
            sock.sendall(sent)
            if way == "half close":
                sock.shutdown(socket.SHUT_WR)
            elif way == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                sock.close()
            else:
                sock.close()
        if way == "half close":  # the server closes although this side still could read
            for sock in socks:
                with suppress(ConnectionResetError):
                    await asyncio.to_thread(_answer, sock)
    await _until_no_program(own_daemon)
    # A finished program keeps its ledger and what it printed; every call may have started one.
    programs = 10 * sent.count(b"process.Process/Start")
    await until(lambda: descriptors(server) <= before + programs)


async def _until_no_program(daemon: Daemon) -> None:
    processes = Processes.on(daemon.port, Codec.PROTO)
    async with asyncio.timeout(60):
        while await processes.pids():
            await asyncio.sleep(0.02)


async def test_two_thousand_connections_dropped_mid_request_leave_nothing_behind(own_daemon: Daemon):
    server, stages = own_daemon.server_pid(), [sent for sent in _STAGES.values() if b"Start" not in sent]
    before = await _at_rest(server)
    for batch in range(10):
        with ExitStack() as stack:
            for number, sock in enumerate(await asyncio.to_thread(_connected, stack, own_daemon.port, 200)):
                sock.sendall(stages[number % len(stages)])
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        if batch == 4:  # what is allocated once is there now
            resident = resident_bytes(server)
    await until(lambda: descriptors(server) <= before)
    # It levels off near 17 MiB above the start, after some 10 000 connections: fragments, not connections.
    assert resident_bytes(server) - resident < 16 * MIB
    assert (await exchange(own_daemon.port, "GET", "/health")).status == 204


async def test_followers_that_leave_in_every_way_leave_no_descriptor(own_daemon: Daemon):
    server, processes = own_daemon.server_pid(), Processes.on(own_daemon.port, Codec.PROTO)
    async with processes.start(shell("yes")) as program:
        await program.until(b"y\n")
        program.stream.connection.reset()  # one that does not read would hold up the others
        before = await _at_rest(server)
        for number in range(60):
            async with processes.connect(pid(program.pid)) as follower:
                await follower.next()
                if number % 3 == 0:
                    follower.stream.connection.reset()
                elif number % 3 == 1:
                    follower.stream.connection.half_close()
                    follower.stream.connection.close()
        await until(lambda: descriptors(server) <= before)


# Gone without a word.


@dataclass(frozen=True, slots=True)
class Wire:
    """A network of two: the daemon's side, and another host that can be cut off without a trace."""

    namespace: str
    device: str
    near: str
    far: str

    def socket(self) -> socket.socket:
        """A socket on the other host."""
        with ThreadPoolExecutor(1) as pool:  # the namespace is a property of the thread
            return pool.submit(self._make_socket).result()

    def _make_socket(self) -> socket.socket:
        with Path(f"/run/netns/{self.namespace}").open() as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
        return socket.socket()

    def cut(self) -> None:
        """From now on every packet goes to an address that nobody has: no error, no answer."""
        nobody = "02:00:00:00:00:99"
        _ip("neigh", "replace", self.far, "lladdr", nobody, "dev", self.device, "nud", "permanent")
        _ip("-n", self.namespace, "neigh", "replace", self.near, "lladdr", nobody, "dev", "far", "nud", "permanent")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=60)


@contextmanager
def wire() -> Iterator[Wire]:
    """Skips where namespaces cannot be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network of its own needs root and ip(8)")
    number = uuid.uuid4().int
    net = f"198.{18 + number % 2}.{number // 2 % 256}.{number // 512 % 64 * 4}".rpartition(".")
    first = int(net[2])
    made = Wire(f"envd-{number % 10**8}", f"ev{number % 10**8}", f"{net[0]}.{first + 1}", f"{net[0]}.{first + 2}")
    try:
        _ip("netns", "add", made.namespace)
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"no network namespaces here: {exc.stderr}")
    try:
        try:
            _ip("link", "add", made.device, "type", "veth", "peer", "name", "far", "netns", made.namespace)
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"no veth devices here: {exc.stderr}")
        _ip("addr", "add", f"{made.near}/30", "dev", made.device)
        _ip("link", "set", made.device, "up")
        _ip("-n", made.namespace, "addr", "add", f"{made.far}/30", "dev", "far")
        _ip("-n", made.namespace, "link", "set", "far", "up")
        yield made
    finally:
        subprocess.run(["ip", "link", "del", made.device], capture_output=True, timeout=60, check=False)
        _ip("netns", "del", made.namespace)


@pytest.mark.parametrize("dead_s", [6.0, pytest.param(Limits().peer_dead_s, marks=pytest.mark.slow)])
async def test_a_silent_peer_is_given_up_and_a_living_one_that_stalls_is_not(tmp_path: Path, dead_s: float):
    """Three readers at once, to share the wait.

    One vanishes with data under way to it, one behind a closed window; the third is alive and reads nothing for longer
    than that.
    """
    total = 32 * MIB
    # One that vanished is then expected back, as long as it may stall.
    config = Config(limits=Limits(peer_dead_s=dead_s), output=Output(stall_s=min(dead_s, Output().stall_s)))
    with wire() as network:
        async with configured_daemon(config, "0.0.0.0") as daemon:
            processes = Processes.on(daemon.port, Codec.PROTO)
            progress = {name: _progress(tmp_path, name) for name in ("sending", "stalled", "living")}
            gate = tmp_path / "go"
            os.mkfifo(gate)
            waiting = shell(f"echo ready; read _ < {gate}; exec head -c {total} /dev/zero")

            def far(message: object) -> Tap:
                return Tap(daemon.port, START, message, StartResponse, sock=network.socket(), host=network.near)  # type: ignore[arg-type]

            sending = await asyncio.to_thread(far, waiting)
            stalled = await asyncio.to_thread(far, printing(total, progress["stalled"]))
            try:
                async with tap_start(processes, printing(total, progress["living"])) as living:
                    await asyncio.to_thread(sending.read_stdout, 6)
                    await asyncio.to_thread(stalled.start_event)
                    await at_rest(progress["stalled"])
                    held = await at_rest(progress["living"])
                    network.cut()
                    cut_at = time.monotonic()
                    await asyncio.to_thread(gate.write_text, "go\n")
                    await exited(sending.pid, stalled.pid, timeout_s=4 * dead_s + 60)
                    gone_after = time.monotonic() - cut_at
                    assert progress["stalled"]() == total
                    await until(lambda: time.monotonic() - cut_at > 1.25 * dead_s, timeout_s=2 * dead_s + 60)
                    assert progress["living"]() == held
                    rest = await asyncio.to_thread(living.rest)
                    assert rest.stdout == pattern(0, total)
                    assert gone_after > dead_s / 3, "a pause of the network must not cost a connection"
            finally:
                sending.close()
                stalled.close()
                for number in (sending.pid, stalled.pid):
                    if number and is_running(number):
                        await processes.signal(pid(number), SIGNAL_SIGKILL)


def _progress(directory: Path, name: str) -> Progress:
    (directory / name).mkdir()
    return Progress(directory / name)
