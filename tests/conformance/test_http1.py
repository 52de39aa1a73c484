"""HTTP/1.1 itself: versions, bodies, pipelining, upgrades, and how connections end."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import ExitStack

import pytest

from envd.config import Limits
from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    ListRequest,
    ProcessSelector,
    SendSignalRequest,
)
from tests.support.connect import Client, error_of, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import Connection, chunk, connection, exchange, request
from tests.support.kernel import Gate, is_running
from tests.support.process import LIST, NO_PID, SEND_SIGNAL, START, Processes, pid, shell, start_request

HEALTH = request("GET", "/health")
# The frame of a stream that ended well.
END = frame(b"{}", flags=2)


async def ends(conn: Connection) -> bytes:
    """What still arrives before the server closes; fails after the connection's deadline if it does not."""
    return await conn.read_to_end()


def nobody(client: Client, number: int) -> bytes:
    """A call whose answer names the number."""
    message = SendSignalRequest(process=ProcessSelector(pid=NO_PID + number), signal=SIGNAL_SIGKILL)
    return client.request(SEND_SIGNAL, client.codec.encode(message), streaming=False)


async def test_fifty_requests_in_one_write_are_answered_in_order(client: Client):
    async with connection(client.port) as conn:
        await conn.send(b"".join(nobody(client, number) for number in range(50)))
        messages = [error_of(await conn.read_response()).message for _ in range(50)]
    assert messages == [f"process with pid {NO_PID + number} not found" for number in range(50)]


async def test_a_pipelined_request_behind_a_stream_waits_for_its_end(client: Client):
    start = client.request(START, frame(client.codec.encode(start_request("echo", "hi"))), streaming=True)
    async with connection(client.port) as conn:
        await conn.send(start + HEALTH + nobody(client, 0))
        first, second, third = [await conn.read_response() for _ in range(3)]
    assert (first.status, second.status, third.status) == (200, 204, 404)


async def test_a_request_may_arrive_byte_by_byte(daemon: Daemon):
    async with connection(daemon.port) as conn:
        for position in range(len(HEALTH)):
            await conn.send(HEALTH[position : position + 1])
        assert (await conn.read_response()).status == 204


async def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body(client: Client):
    body = client.codec.encode(ListRequest()) or b""
    whole = client.request(LIST, body, streaming=False, headers={"Expect": "100-continue", "Content-Length": "2"})
    head = whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    # Two bytes of an empty message in either codec: {} or field 500, which nobody knows, with no value.
    payload = b"{}" if client.codec.value == "json" else b"\x78\x00"
    async with connection(client.port) as conn:
        await conn.send(head)
        assert (await conn.read_head()).status == 100
        await conn.send(payload)
        assert (await conn.read_response()).status == 200


async def test_http_1_0_is_answered_and_closed(daemon: Daemon):
    async with connection(daemon.port) as conn:
        await conn.send(request("GET", "/health", version="HTTP/1.0"))
        assert (await conn.read_response()).status == 204
        assert await ends(conn) == b""


async def test_http_1_0_with_keep_alive_may_go_on(daemon: Daemon):
    async with connection(daemon.port) as conn:
        for _ in range(2):
            await conn.send(request("GET", "/health", version="HTTP/1.0", headers={"Connection": "keep-alive"}))
            assert (await conn.read_response()).status == 204


async def test_a_stream_to_http_1_0_is_not_chunked_and_ends_with_the_connection(client: Client):
    body = frame(client.codec.encode(start_request("echo", "hi")))
    whole = client.request(START, body, streaming=True).replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
    async with connection(client.port) as conn:
        await conn.send(whole)
        response = await conn.read_response()
    assert response.status == 200
    assert "Transfer-Encoding" not in response.headers
    assert response.body.endswith(END)


async def test_an_upgrade_to_h2c_is_ignored(client: Client):
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()), headers=upgrade)
    assert (response.version, response.status) == ("HTTP/1.1", 200)


async def test_the_connection_goes_on_after_an_ignored_upgrade(client: Client):
    upgrade = {"Connection": "Upgrade", "Upgrade": "h2c"}
    async with connection(client.port) as conn:
        await conn.send(request("GET", "/health", headers=upgrade) + nobody(client, 7) + HEALTH)
        assert (await conn.read_response()).status == 204
        assert error_of(await conn.read_response()).message == f"process with pid {NO_PID + 7} not found"
        assert (await conn.read_response()).status == 204


async def test_an_upgrade_to_websocket_is_ignored_too(daemon: Daemon):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert (await exchange(daemon.port, "GET", "/health", headers=headers)).status == 204


async def test_connect_is_no_method_of_ours(daemon: Daemon):
    async with connection(daemon.port) as conn:
        await conn.send(request("CONNECT", "example.test:443"))
        assert (await conn.read_response()).status in {404, 405}


async def test_a_chunked_request_body_is_put_together(client: Client):
    body = nobody(client, 3).partition(b"\r\n\r\n")[2]
    response = await client.unary_raw(SEND_SIGNAL, None, chunks=[body[:1], body[1:3], body[3:]])
    assert error_of(response).message == f"process with pid {NO_PID + 3} not found"


async def test_chunk_extensions_and_trailers_are_ignored(client: Client):
    body = nobody(client, 4).partition(b"\r\n\r\n")[2]
    head = client.request(SEND_SIGNAL, None, streaming=False, chunks=[]).removesuffix(b"0\r\n\r\n")
    extended = chunk(body).replace(b"\r\n", b";name=value\r\n", 1)
    async with connection(client.port) as conn:
        await conn.send(head + extended + b"0\r\nX-Trailer: 1\r\n\r\n" + HEALTH)
        assert error_of(await conn.read_response()).message == f"process with pid {NO_PID + 4} not found"
        assert (await conn.read_response()).status == 204


@pytest.mark.parametrize(
    "bad", [b"zz\r\n{}\r\n", b"-1\r\n", b"\r\n", b"fffffffffffffffffff\r\n", b"2\r\n{}}\r\n"], ids=repr
)
async def test_a_bad_chunk_is_a_bad_request_and_the_end_of_its_connection(client: Client, bad):
    head = client.request(LIST, None, streaming=False, chunks=[]).removesuffix(b"0\r\n\r\n")
    async with connection(client.port) as conn:
        await conn.send(head + bad)
        assert (await conn.read_response()).status == 400
        assert await ends(conn) == b""
    assert (await exchange(client.port, "GET", "/health")).status == 204


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=[
        "no request line",
        "no version",
        "unknown version",
        "no header",
        "length of letters",
        "negative length",
        "two lengths",
        "length and chunked",
        "TLS",
    ],
)
async def test_what_is_no_http_is_a_bad_request_and_the_end_of_its_connection(daemon: Daemon, bad):
    async with connection(daemon.port) as conn:
        await conn.send(bad)
        assert (await conn.read_response()).status in {400, 505}
        assert await ends(conn) == b""


async def test_a_client_that_asks_to_close_is_answered_and_closed(daemon: Daemon):
    async with connection(daemon.port) as conn:
        await conn.send(request("GET", "/health", headers={"Connection": "close"}))
        response = await conn.read_response()
        assert (response.status, response.headers["Connection"]) == (204, "close")
        assert await ends(conn) == b""


async def test_a_stream_of_a_client_that_asks_to_close_is_whole(client: Client):
    body = frame(client.codec.encode(start_request("echo", "hi")))
    async with connection(client.port) as conn:
        await conn.send(client.request(START, body, streaming=True, headers={"Connection": "close"}))
        response = await conn.read_response()
        assert response.body.endswith(END)
        assert await ends(conn) == b""


async def test_a_body_nobody_reads_does_not_spoil_the_next_request(daemon: Daemon):
    async with connection(daemon.port) as conn:
        await conn.send(request("POST", "/nope", body=b"x" * 10_000) + HEALTH)  # one segment: it arrives whole
        assert (await conn.read_response()).status == 404
        assert (await conn.read_response()).status == 204


async def test_an_answer_before_the_end_of_the_body_announces_the_close(daemon: Daemon):
    async with connection(daemon.port) as conn:
        whole = request("POST", "/nope", body=b"x" * 100_000)
        await conn.send(whole[:30_000])
        response = await conn.read_response()
        assert (response.status, response.headers["Connection"]) == (404, "close")
        await conn.send(whole[30_000:])
        assert await ends(conn) == b""


async def test_a_fin_after_the_request_ends_neither_stream_nor_program(over_connect: Processes):
    async with over_connect.start(start_request("cat")) as program:
        program.stream.connection.half_close()
        await over_connect.send_input(pid(program.pid), b"still here\n")
        await program.until(b"still here\n")
        assert program.pid in await over_connect.pids()


async def test_a_reset_ends_the_stream_and_not_the_program(over_connect: Processes):
    async with over_connect.start(start_request("cat")) as program:
        program.stream.connection.reset()
        await over_connect.send_input(pid(program.pid), b"still here\n")
        async with over_connect.connect(pid(program.pid)) as follower:
            await follower.until(b"still here\n")


async def test_a_connection_that_says_nothing_disturbs_nobody(daemon: Daemon):
    async with connection(daemon.port), connection(daemon.port) as half:
        await half.send(b"GET /health HT")
        assert (await exchange(daemon.port, "GET", "/health")).status == 204


async def test_a_client_that_leaves_in_the_middle_of_its_request_starts_nothing(over_connect: Processes, tmp_path):
    proof = tmp_path / "started"
    client = over_connect.client
    whole = client.request(START, frame(client.codec.encode(start_request("touch", str(proof)))), streaming=True)
    for leave in (Connection.half_close, Connection.reset):
        async with connection(client.port) as conn:
            await conn.send(whole[:-1])
            leave(conn)
            await conn.read_to_end()
    assert (await over_connect.run(start_request("true"))).end.exited
    assert not proof.exists()


async def test_twenty_streams_live_side_by_side(over_connect: Processes, gate: Gate):
    async def follow() -> bytes:
        async with over_connect.start(shell("echo ready; read line; echo $line")) as program:
            await program.until(b"ready\n")
            await over_connect.send_input(pid(program.pid), f"{program.pid}\n".encode())
            outcome = await program.rest()
            assert not is_running(program.pid)
            return outcome.stdout.replace(f"{program.pid}".encode(), b"own")

    assert await asyncio.gather(*(follow() for _ in range(20))) == [b"ready\nown\n"] * 20


async def test_a_client_past_the_limit_is_told_so_and_those_within_it_are_served():
    limit = Limits().connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < limit + 500:
        pytest.skip(f"a process may have only {hard} open files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with running_daemon() as daemon:
            with ExitStack() as idle:
                address = ("127.0.0.1", daemon.port)
                sockets: list[socket.socket] = []
                call = request(
                    "POST", "/process.Process/List", headers={"Content-Type": "application/json"}, body=b"{}"
                )
                while len(sockets) < limit:  # those that nobody knows would make room
                    sockets.append(idle.enter_context(socket.create_connection(address, timeout=60)))
                    sockets[-1].sendall(call)
                    assert sockets[-1].recv(65536).startswith(b"HTTP/1.1 200 ")
                for _ in range(5):
                    assert (await exchange(daemon.port, "GET", "/health")).status == 503
                for within in (sockets[0], sockets[-1]):
                    within.sendall(HEALTH)
                    assert within.recv(4096).startswith(b"HTTP/1.1 204 ")
            async with asyncio.timeout(60):
                while (await exchange(daemon.port, "GET", "/health")).status != 204:
                    pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_answer_to_head_has_a_length_but_no_body(client: Client):
    async with connection(client.port) as conn:
        await conn.send(request("HEAD", "/nope") + HEALTH)
        refused = await conn.read_response(method="HEAD")
        # A body here would be taken for the beginning of this one.
        healthy = await conn.read_response()
    assert (refused.status, refused.headers["content-length"], healthy.status) == (404, "19", 204)


async def test_a_transfer_coding_other_than_chunked_is_refused(client: Client):
    async with connection(client.port) as conn:
        await conn.send(
            b"POST /process.Process/List HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
        )
        assert (await ends(conn)).startswith(b"HTTP/1.1 501 ")


async def test_http_1_0_is_told_that_its_connection_is_kept(client: Client):
    async with connection(client.port) as conn:
        for _ in range(2):
            await conn.send(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (await conn.read_response()).headers["connection"] == "keep-alive"


async def test_a_target_that_is_no_url_is_refused_in_words(client: Client):
    async with connection(client.port) as conn:
        await conn.send(b"GET http://[::1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await ends(conn)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"the target is neither a path nor a URL" in answer


async def test_four_thousand_ignored_upgrades_in_one_write_are_all_answered(client: Client):
    upgrade = b"GET /health HTTP/1.1\r\nHost: localhost\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"
    async with connection(client.port) as conn:
        sending = asyncio.create_task(conn.send(upgrade * 4000))
        for _ in range(4000):
            assert (await conn.read_response()).status == 204
        await sending
