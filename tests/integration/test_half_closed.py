"""A client that has said all it has to say, and shuts down its sending side, wants its answer. RFC 9112, 9.6."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec, frame
from tests.support.daemon import Daemon
from tests.support.faults import descriptors
from tests.support.http1 import Connection, connection, request
from tests.support.kernel import Gate
from tests.support.process import CONNECT, SEND_INPUT, START, STREAM_INPUT, Processes, pid, shell, start_request
from tests.support.readers import until
from tests.support.searching import Search

OCTET = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}
_SEARCHES = 16  # as many as ever go on at once
START_PATH = f"/{START}"
HEALTH = request("GET", "/health")


@pytest.fixture
async def conn(daemon: Daemon) -> AsyncIterator[Connection]:
    async with connection(daemon.port) as opened:
        yield opened


async def ended(conn: Connection) -> None:
    """Nothing more comes, and it ends in order."""
    assert await conn.read_some() == b""


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_download_comes_whole(conn: Connection, tmp_path: Path, version: str):
    (tmp_path / "file").write_bytes(bytes(range(256)) * 20_000)
    await conn.send(request("GET", f"/files?path={tmp_path}/file", version=version))
    conn.half_close()
    response = await conn.read_response()
    assert (response.status, response.body) == (200, bytes(range(256)) * 20_000)
    await ended(conn)


@pytest.mark.parametrize("size", [0, 2, 3_000_000])
async def test_an_upload_is_written_and_its_client_learns_it(conn: Connection, tmp_path: Path, size: int):
    await conn.send(request("POST", f"/files?path={tmp_path}/new", headers=OCTET, body=b"x" * size))
    conn.half_close()
    assert (await conn.read_response()).status == 200
    assert (tmp_path / "new").stat().st_size == size
    await ended(conn)


async def test_a_unary_call_is_answered(conn: Connection):
    await conn.send(request("POST", "/filesystem.Filesystem/Stat", headers=JSON, body=b'{"path": "/"}'))
    conn.half_close()
    assert (await conn.read_response()).status == 200
    await ended(conn)


async def test_all_that_were_pipelined_are_answered(conn: Connection):
    await conn.send(HEALTH * 200)
    conn.half_close()
    for _ in range(200):
        assert (await conn.read_response()).status == 204
    await ended(conn)


async def test_half_a_request_behind_whole_ones_is_a_bad_request(conn: Connection):
    await conn.send(HEALTH * 2 + HEALTH[:-7])
    conn.half_close()
    assert [(await conn.read_response()).status for _ in range(3)] == [204, 204, 400]
    await ended(conn)


@pytest.mark.parametrize("sent", [b"G", b"PRI * HT", HEALTH[:-2]])
async def test_half_a_head_is_a_bad_request(conn: Connection, sent: bytes):
    await conn.send(sent)
    conn.half_close()
    assert (await conn.read_response()).status == 400
    await ended(conn)


async def test_who_said_nothing_hears_nothing(conn: Connection):
    conn.half_close()
    await ended(conn)


BODIES = {
    "a length": request("POST", "/files?path=PATH", headers={**OCTET, "Content-Length": "10"}) + b"half",
    "a large length": request("POST", "/files?path=PATH", headers={**OCTET, "Content-Length": "9000000"})
    + b"x" * 900_000,
    "chunks": request("POST", "/files?path=PATH", headers=OCTET, chunks=[b"half"])[:-5],
    "half a chunk": request("POST", "/files?path=PATH", headers=OCTET, chunks=[b"half"])[:-8],
}


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
async def test_half_a_body_is_a_bad_request_and_writes_nothing(conn: Connection, tmp_path: Path, sent: bytes):
    await conn.send(sent.replace(b"PATH", f"{tmp_path}/new".encode()))
    conn.half_close()
    assert (await conn.read_response()).status == 400
    assert list(tmp_path.iterdir()) == []


async def test_a_program_is_followed_to_its_end(over_connect: Processes, gate: Gate):
    async with over_connect.start(shell(f"echo one; read _ < {gate.path}; echo two; exit 3")) as program:
        program.stream.connection.half_close()
        await program.until(b"one\n")
        gate.open()
        outcome = await program.rest()
    assert (outcome.stdout, outcome.end.exit_code) == (b"one\ntwo\n", 3)


async def test_grpc_web_too(conn: Connection):
    message = frame(b'{"process": {"cmd": "echo", "args": ["hello"]}}')
    await conn.send(request("POST", START_PATH, headers={"Content-Type": "application/grpc-web+json"}, body=message))
    conn.half_close()
    response = await conn.read_response()
    assert b"aGVsbG8K" in response.body
    assert b"grpc-status: 0" in response.body.lower()
    await ended(conn)


async def test_a_stream_of_input_is_taken(over_connect: Processes):
    client = over_connect.client
    async with over_connect.start(start_request("cat", stdin=True)) as program:
        start = b'{"start": {"process": {"pid": %d}}}' % program.pid
        if client.codec is not Codec.JSON:
            pytest.skip("the wire is the same; the messages are written for JSON")
        data = b'{"data": {"input": {"stdin": "aGVsbG8K"}}}'
        async with connection(client.port) as conn:
            await conn.send(client.request(STREAM_INPUT, frame(start) + frame(data), streaming=True))
            conn.half_close()
            response = await conn.read_response()
            assert response.status == 200
            assert b"error" not in response.body
        await program.until(b"hello\n")


@pytest.mark.parametrize("family", ["unix", "tcp"])
async def test_who_is_gone_altogether_is_noticed(own_daemon: Daemon, tmp_path: Path, family: str):
    """A stream to nobody ends: at once on a unix socket and after a reset, else with the first that is written."""
    started = own_daemon if family == "tcp" else Daemon.start("--listen", f"unix:{tmp_path}/socket")
    try:
        server = started.server_pid()
        before = descriptors(server)
        request_bytes = Client(0, Codec.JSON).request(START, frame(b'{"process": {"cmd": "cat"}}'), streaming=True)
        sock = _connected(started, tmp_path, family)
        sock.sendall(request_bytes)
        received = b""
        while b'"start"' not in received:
            received += sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        held = descriptors(server)
        assert held > before
        if family == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await until(lambda: descriptors(server) < held)
    finally:
        if started is not own_daemon:
            started.stop()


def _connected(started: Daemon, tmp_path: Path, family: str) -> socket.socket:
    if family == "tcp":
        return socket.create_connection(("127.0.0.1", started.port), 20)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(f"{tmp_path}/socket")
    return sock


@pytest.mark.parametrize("first", [b"", b"needle\n"], ids=["nothing was sent", "something was read"])
async def test_searches_of_who_has_closed_keep_nobody_out(own_daemon: Daemon, tmp_path: Path, first: bytes):
    """What was sent was read, so all the kernel sends is a FIN, as for a half-closed client."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/first").write_bytes(first)
    with (tmp_path / "tree/long").open("wb") as file:
        file.truncate(1 << 40)  # an hour's work
    (tmp_path / "other").write_bytes(b"needle\n")
    wish = b'{"selection": {"path": "%s/tree"}, "pattern": {"text": "needle"}, "binary": true}' % bytes(tmp_path)
    endless = Client(0, Codec.JSON).request("filesystem.Filesystem/Grep", frame(wish), streaming=True)
    for _ in range(_SEARCHES):
        async with connection(own_daemon.port) as conn:
            await conn.send(endless)
            received = b""
            while first.strip() not in received:
                received += await conn.read_some()
    found = await Search(Client(own_daemon.port, Codec.PROTO)).grep(tmp_path / "other", "needle")
    assert [Path(path) for path in found.files] == [tmp_path / "other"]


@pytest.mark.parametrize("kind", ["stream", "unary"])
async def test_who_closes_long_after_its_end_is_noticed_though_nothing_is_printed(own_daemon: Daemon, kind: str):
    """It was still there when its FIN had come, so it took what was sent then; for a minute its kernel goes on so."""
    server, client = own_daemon.server_pid(), Client(0, Codec.JSON)
    async with Processes.on(own_daemon.port, Codec.PROTO).start(start_request("sleep", "1000", stdin=True)) as program:
        selector = b'"process": {"pid": %d}' % program.pid
        if kind == "stream":
            wanted, wish = b"\r\n0", client.request(CONNECT, frame(b"{%s}" % selector), streaming=True)
        else:  # more than a pipe takes that nobody reads
            body = b'{%s, "input": {"stdin": "%s"}}' % (selector, b"AAAA" * 50_000)
            wanted, wish = b"100 Continue", request("POST", f"/{SEND_INPUT}", headers=JSON, body=body)
        sock = socket.create_connection(("127.0.0.1", own_daemon.port), 20)
        await asyncio.to_thread(sock.sendall, wish)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while wanted not in received:
            received += await asyncio.to_thread(sock.recv, 65536)
        held = descriptors(server)
        sock.close()
        await until(lambda: descriptors(server) < held)


async def test_a_stream_to_who_has_closed_ends_though_nothing_is_printed(own_daemon: Daemon):
    server, processes = own_daemon.server_pid(), Processes.on(own_daemon.port, Codec.PROTO)
    async with (
        processes.start(start_request("cat", stdin=True)) as program,
        processes.connect(pid(program.pid)) as follower,
    ):
        held = descriptors(server)
        follower.stream.connection.close()  # nothing unread: the kernel sends a FIN, as for a half-closed client
        await until(lambda: descriptors(server) < held)
        await processes.send_input(pid(program.pid), b"hello\n")
        await program.until(b"hello\n")
