"""What clients without the access token can make the daemon hold: little, and nobody else is kept waiting."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, daemon_of
from tests.support.faults import descriptors
from tests.support.http1 import exchange, request
from tests.support.http2 import END_HEADERS, HEADERS, PREFACE, PRIORITY, WINDOW_UPDATE, call_fields, h2_frame, settings
from tests.support.process import Processes, start_request
from tests.support.readers import until
from tests.support.system import token_header

TOKEN = "the-token"
MIB = 1024 * 1024


@pytest.fixture
def guarded() -> Iterator[Daemon]:
    started = Daemon.start(env={"ENVD_ACCESS_TOKEN": TOKEN})
    yield started
    started.stop()
    assert not [line for line in started.stderr if '"level": "error"' in line]


@pytest.fixture
async def served(guarded: Daemon) -> AsyncIterator[Processes]:
    """Calls with the token; they are answered afterwards, too."""
    processes = Processes(Client(guarded.port, Codec.PROTO, token_header(TOKEN)))
    assert (await processes.run(start_request("true"))).end.exited
    yield processes
    assert (await processes.run(start_request("true"))).end.exited


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def opened(port: int, data: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 2)
    with suppress(ConnectionError, TimeoutError):  # cut off, or not read any further
        sock.sendall(data)
    return sock


def _http2(*frames: bytes) -> bytes:
    return PREFACE + settings() + b"".join(frames)


def _begun(number: int, method: str) -> bytes:
    return h2_frame(HEADERS, call_fields(method), flags=END_HEADERS, stream=2 * number + 1)


_HALF = b"\0" + struct.pack(">I", MIB) + b" " * 16_000
KINDS: dict[str, tuple[int, Callable[[], bytes]]] = {
    "bodies of /init": (
        150,
        lambda: request("POST", "/init", headers={"Content-Length": str(MIB)}) + b" " * (MIB - 1000),
    ),
    "whole bodies of many variables": (
        100,
        lambda: request(
            "POST", "/init", body=b'{"envVars":{' + b",".join(b'"%x":""' % n for n in range(100_000)) + b"}}"
        ),
    ),
    "heads": (400, lambda: request("GET", "/health", headers={"X-Long": "x" * 60_000})[:-2]),
    "extensions of chunks": (100, lambda: request("POST", "/init", chunks=[])[:-5] + b"1;" + b"e" * 60_000),
    "answers nobody reads": (40, lambda: request("GET", "/health") * 2000),
    "watches of health": (
        20,
        lambda: _http2(
            *(
                _begun(n, "grpc.health.v1.Health/Watch") + h2_frame(0, bytes(5), flags=1, stream=2 * n + 1)
                for n in range(1000)
            )
        ),
    ),
    "calls of Init": (
        10,
        lambda: _http2(*(_begun(n, "system.System/Init") + h2_frame(0, _HALF, stream=2 * n + 1) for n in range(500))),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("count", "data"), KINDS.values(), ids=KINDS)
async def test_what_is_held_is_bounded_and_given_back(
    guarded: Daemon, served: Processes, count: int, data: Callable[[], bytes]
):
    server = guarded.server_pid()
    with opened(guarded.port, _http2()) as first:
        assert first.recv(1)  # the gRPC server has been imported, and is there
    assert (await served.run(start_request("true"))).end.exited
    before, peak, sent = resident_bytes(server), 0, data()
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(opened(guarded.port, sent))
            peak = max(peak, resident_bytes(server))
        for _ in range(20):  # what is in the kernel is read meanwhile
            assert (await exchange(guarded.port, "GET", "/health")).status == 204
            peak = max(peak, resident_bytes(server))
    assert peak - before < 32 * MIB  # above a gRPC server that has been imported
    await until(lambda: resident_bytes(server) - before < 16 * MIB)


FLOODS = {
    "priorities": h2_frame(PRIORITY, bytes(5), stream=1),
    "window updates": h2_frame(WINDOW_UPDATE, struct.pack(">I", 1)),
    "answers to nothing": h2_frame(4, flags=1),
    "a kind that nobody knows": h2_frame(0x7F),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_frames_that_only_cost_end_the_connection(guarded: Daemon, flood: bytes):
    with opened(guarded.port, _http2()) as sock, pytest.raises(ConnectionError):
        _send_without_end(sock, flood * 1000)
    assert (await exchange(guarded.port, "GET", "/health")).status == 204


def _send_without_end(sock: socket.socket, data: bytes) -> None:
    for _ in range(1000):
        sock.sendall(data)


async def test_no_user_of_the_machine_reaches_the_private_socket(guarded: Daemon):
    with opened(guarded.port, _http2()) as sock:
        sock.recv(100)
        inodes = {os.readlink(f"/proc/{guarded.server_pid()}/fd/{fd}") for fd in _fds(guarded.server_pid())}
        with open("/proc/net/unix") as file:
            ours = [line.split() for line in file if f"socket:[{line.split()[6]}]" in inodes]
    names = [fields[7] for fields in ours if len(fields) > 7]
    assert names
    assert not [name for name in names if name.startswith("@")]
    assert not [name for name in names if os.path.exists(name)]


def _fds(pid: int) -> list[str]:
    return [fd for fd in os.listdir(f"/proc/{pid}/fd") if os.path.lexists(f"/proc/{pid}/fd/{fd}")]


@pytest.mark.slow
async def test_with_few_descriptors_connections_without_the_token_keep_nobody_out():
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)); "
    command = [sys.executable, "-c", limited + "runpy.run_module('envd', run_name='__main__')"]
    command += ["--port", "0", "--listen", "127.0.0.1"]
    with daemon_of(command, env={"ENVD_ACCESS_TOKEN": TOKEN}) as started, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(opened(started.port, _http2()))
        assert descriptors(started.server_pid()) < 400
        processes = Processes(Client(started.port, Codec.PROTO, token_header(TOKEN)))
        for _ in range(5):
            assert (await exchange(started.port, "GET", "/health")).status == 204
            assert (await processes.run(start_request("true"))).end.exited
        assert len(started.stderr) < 1000
