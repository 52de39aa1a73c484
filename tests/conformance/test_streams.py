"""Connect streams: frames, end-stream frames, compression, deadlines, keep-alive messages."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import pytest

from envd_proto.process.process_pb2 import (
    ConnectRequest,
    ProcessSelector,
    StartRequest,
    StartResponse,
    StreamInputRequest,
    StreamInputResponse,
)
from tests.support.connect import (
    COMPRESSED,
    END_STREAM,
    Client,
    Codec,
    ConnectError,
    error_in,
    frame,
    frames_from,
)
from tests.support.daemon import Daemon
from tests.support.http1 import connection, exchange
from tests.support.kernel import is_running
from tests.support.process import (
    CONNECT,
    NO_PID,
    START,
    STREAM_INPUT,
    Processes,
    input_data,
    input_for,
    pid,
    shell,
    start_request,
)


async def failure(
    client: Client, method: str, body: bytes | None, *, headers: dict[str, str] | None = None, chunks=None
) -> ConnectError:
    """The error of a stream that fails before any message: HTTP 200 and a single end-stream frame."""
    response, frames = await client.stream_whole(method, body, headers=headers, chunks=chunks)
    assert response.status == 200
    assert response.headers["Content-Type"] == client.codec.stream_type
    assert [found.flags & ~COMPRESSED for found in frames] == [END_STREAM]
    error = error_in(frames[0])
    assert error is not None
    return error


def echo(client: Client, text: str = "hi") -> bytes:
    """The body of a Start."""
    return frame(client.codec.encode(start_request("echo", text)))


@pytest.mark.line(10)
@pytest.mark.parametrize("method", [START, CONNECT, STREAM_INPUT])
async def test_plain_json_is_no_content_type_of_a_stream(daemon: Daemon, method):
    headers = {"Content-Type": "application/json"}
    response = await exchange(daemon.port, "POST", f"/{method}", headers=headers, body=b"{}")
    assert (response.status, response.body) == (415, b"")
    assert "application/connect+json" in response.headers["Accept-Post"]


@pytest.mark.line(27)
async def test_a_stream_is_chunked_frames_of_which_the_last_is_the_end(client: Client):
    response, frames = await client.stream_whole(START, echo(client))
    assert response.status == 200
    assert response.headers["Content-Type"] == client.codec.stream_type
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert response.headers["Connect-Accept-Encoding"] == "gzip"
    assert [found.flags for found in frames] == [0] * (len(frames) - 1) + [END_STREAM]


@pytest.mark.line(27)
async def test_the_parameters_of_a_content_type_come_back(daemon: Daemon):
    client = Client(daemon.port, Codec.JSON)
    content_type = "application/connect+json; charset=utf-8"
    response, frames = await client.stream_whole(START, echo(client), headers={"Content-Type": content_type})
    assert (response.headers["Content-Type"], frames[-1].flags) == (content_type, END_STREAM)


@pytest.mark.line(28)
async def test_a_good_stream_ends_with_an_empty_object(client: Client):
    _, frames = await client.stream_whole(START, echo(client))
    assert frames[-1].payload == b"{}"


@pytest.mark.line(29)
async def test_an_error_of_a_stream_is_in_its_last_frame(client: Client):
    body = frame(client.codec.encode(ConnectRequest(process=ProcessSelector(pid=NO_PID))))
    response, frames = await client.stream_whole(CONNECT, body)
    assert response.status == 200
    assert json.loads(frames[-1].payload) == {
        "error": {"code": "not_found", "message": f"process with pid {NO_PID} not found"}
    }


@pytest.mark.line(30)
async def test_every_frame_is_compressed_for_a_client_that_accepts_it(client: Client):
    response, frames = await client.stream_whole(START, echo(client), headers={"Connect-Accept-Encoding": "gzip"})
    assert response.headers["Connect-Content-Encoding"] == "gzip"
    assert [found.flags for found in frames] == [COMPRESSED] * (len(frames) - 1) + [COMPRESSED | END_STREAM]
    events = [client.codec.decode(found.data, StartResponse).event for found in frames[:-1]]
    assert b"".join(event.data.stdout for event in events) == b"hi\n"
    assert frames[-1].data == b"{}"


@pytest.mark.line(30)
async def test_a_compressed_request_frame_is_read(client: Client):
    body = frame(gzip.compress(client.codec.encode(start_request("echo", "hi"))), flags=COMPRESSED)
    response, frames = await client.stream_whole(START, body, headers={"Connect-Content-Encoding": "gzip"})
    assert response.headers["Connect-Content-Encoding"] == "gzip"
    assert frames[-1].data == b"{}"


@pytest.mark.line(30)
async def test_a_frame_of_a_compressed_stream_may_be_plain(client: Client):
    _, frames = await client.stream_whole(START, echo(client), headers={"Connect-Content-Encoding": "gzip"})
    assert frames[-1].data == b"{}"


async def test_a_compressed_frame_without_a_coding_is_an_error(client: Client):
    body = frame(gzip.compress(client.codec.encode(start_request("true"))), flags=COMPRESSED)
    error = await failure(client, START, body)
    assert error.code == "internal"
    assert "sent compressed message without compression support" in error.message


@pytest.mark.line(24)
async def test_an_unknown_coding_of_a_stream_is_unimplemented(client: Client):
    error = await failure(client, START, echo(client), headers={"Connect-Content-Encoding": "br"})
    assert error.code == "unimplemented"
    assert 'unknown compression "br"' in error.message


@pytest.mark.line(31)
@pytest.mark.parametrize("method", [START, CONNECT])
async def test_no_message_at_all_is_unimplemented(client: Client, method):
    error = await failure(client, method, b"")
    assert error.code == "unimplemented"
    assert "zero messages" in error.message


@pytest.mark.line(32)
@pytest.mark.parametrize("method", [START, CONNECT])
async def test_two_messages_to_a_server_stream_are_unimplemented(client: Client, method, tmp_path):
    proof = tmp_path / "started"
    body = frame(client.codec.encode(start_request("touch", str(proof)))) * 2
    error = await failure(client, method, body)
    assert error.code == "unimplemented"
    assert "multiple messages" in error.message
    assert not proof.exists()


async def test_a_message_outside_a_frame_is_a_protocol_error(client: Client):
    error = await failure(client, START, b"{}")
    assert error.code == "invalid_argument"
    assert "protocol error: incomplete envelope" in error.message


async def test_a_frame_of_no_bytes_is_a_message_of_defaults(daemon: Daemon):
    client = Client(daemon.port, Codec.PROTO)
    response, frames = await client.stream_whole(START, frame(b""))
    events = [client.codec.decode(found.payload, StartResponse).event for found in frames[:-1]]
    assert response.status == 200
    assert events[-1].end.exit_code == 127


@pytest.mark.line(33)
@pytest.mark.parametrize("method", [START, CONNECT, STREAM_INPUT])
async def test_a_timeout_that_is_no_number_fails_the_stream(client: Client, method):
    error = await failure(client, method, echo(client), headers={"Connect-Timeout-Ms": "abc"})
    assert error.code == "invalid_argument"
    assert "parse timeout" in error.message


@pytest.mark.line(34)
async def test_a_timeout_of_eleven_digits_fails_the_stream(client: Client):
    error = await failure(client, START, echo(client), headers={"Connect-Timeout-Ms": "12345678901"})
    assert error.code == "invalid_argument"
    assert ">10 digits" in error.message


@pytest.mark.line(25)
async def test_another_protocol_version_fails_the_stream(client: Client):
    error = await failure(client, START, echo(client), headers={"Connect-Protocol-Version": "2"})
    assert error.code == "invalid_argument"


@pytest.mark.line(35)
async def test_a_stream_ends_at_its_deadline(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        began = time.monotonic()
        with pytest.raises(ConnectError) as error:
            async with processes.connect(pid(program.pid), headers={"Connect-Timeout-Ms": "700"}) as follower:
                await follower.rest()
        took = time.monotonic() - began
    assert (error.value.code, error.value.message) == ("deadline_exceeded", "context deadline exceeded")
    assert 0.65 < took < 3


@pytest.mark.line(35)
async def test_a_client_stream_ends_at_its_deadline_though_its_client_sends_nothing(client: Client):
    async with connection(client.port) as conn:
        # Chunked and never ended.
        head = client.request(STREAM_INPUT, None, streaming=True, headers={"Connect-Timeout-Ms": "300"}, chunks=[])
        await conn.send(head.removesuffix(b"0\r\n\r\n"))
        async with client.response_on(conn) as stream:
            error = error_in(await stream.read_to_end())
    assert error is not None
    assert error.code == "deadline_exceeded"


@pytest.mark.parametrize("timeout", ["0", "-1"])
async def test_a_deadline_that_has_passed_starts_nothing(client: Client, tmp_path, timeout):
    proof = tmp_path / "started"
    body = frame(client.codec.encode(start_request("touch", str(proof))))
    error = await failure(client, START, body, headers={"Connect-Timeout-Ms": timeout})
    assert error.code == "deadline_exceeded"
    assert (await Processes(client).run(start_request("true"))).end.exited
    assert not proof.exists()


@pytest.mark.line(39)
async def test_a_silent_program_has_a_keepalive_about_every_second(processes: Processes):
    async with processes.start(start_request("sleep", "1000"), headers={"Keepalive-Ping-Interval": "1"}) as program:
        began = time.monotonic()
        for _ in range(2):
            assert (await program.next()).HasField("keepalive")
        assert 1.8 < time.monotonic() - began < 4


@pytest.mark.line(39)
async def test_a_connected_stream_has_keepalives_too(processes: Processes):
    async with (
        processes.start(start_request("sleep", "1000")) as program,
        processes.connect(pid(program.pid), headers={"Keepalive-Ping-Interval": "1"}) as follower,
    ):
        assert (await follower.next()).HasField("keepalive")


@pytest.mark.line(40)
async def test_output_puts_the_keepalive_off(processes: Processes):
    script = "for i in 1 2 3 4; do sleep 0.5; echo $i; done"
    outcome = await processes.run(shell(script), headers={"Keepalive-Ping-Interval": "1"})
    assert "keepalive" not in outcome.kinds
    assert outcome.stdout == b"1\n2\n3\n4\n"


@pytest.mark.line(41)
async def test_a_keepalive_interval_that_makes_no_sense_is_the_default(processes: Processes):
    async def kinds(value: str) -> list[str]:
        headers = {"Keepalive-Ping-Interval": value}
        async with processes.start(shell("sleep 1.3; echo done"), headers=headers) as program:
            async with processes.connect(pid(program.pid), headers=headers) as follower:
                connected = await follower.rest()
            started = await program.rest()
        return started.kinds + connected.kinds

    values = ["0", "-1", "abc", "", "0.5", "99999999999999999999", "NaN"]
    for seen in await asyncio.gather(*map(kinds, values)):
        assert seen.count("end") == 2
        assert "keepalive" not in seen


async def test_a_client_that_leaves_its_request_open_is_not_answered_yet(client: Client):
    async with connection(client.port) as conn:
        whole = client.request(START, None, streaming=True, chunks=[echo(client)])
        await conn.send(whole.removesuffix(b"0\r\n\r\n"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await conn.read_some()
        await conn.send(b"0\r\n\r\n")
        async with client.response_on(conn) as stream:
            assert (await stream.read_to_end()).data == b"{}"


async def test_a_client_stream_is_read_as_it_comes(processes: Processes):
    client = processes.client
    async with processes.start(start_request("cat")) as program, connection(client.port) as conn:
        first = [
            frame(client.codec.encode(input_for(pid(program.pid)))),
            frame(client.codec.encode(input_data(b"a\n"))),
        ]
        head = client.request(STREAM_INPUT, None, streaming=True, chunks=first)
        await conn.send(head.removesuffix(b"0\r\n\r\n"))
        await program.until(b"a\n")
        await conn.send(b"0\r\n\r\n")
        async with client.response_on(conn) as stream:
            replies = [reply async for reply in stream.messages(StreamInputResponse)]
        assert replies == [StreamInputResponse()]
        assert is_running(program.pid)


async def test_frames_may_be_cut_anywhere(processes: Processes):
    client = processes.client
    async with processes.start(start_request("cat")) as program:
        messages: list[StreamInputRequest] = [input_for(pid(program.pid)), input_data(b"0123456789"), input_data(b"\n")]
        body = b"".join(frame(client.codec.encode(message)) for message in messages)
        pieces = [body[i : i + 1] for i in range(len(body))]
        _, frames = await client.stream_whole(STREAM_INPUT, None, chunks=pieces)
        assert frames[-1].payload == b"{}"
        await program.until(b"0123456789\n")


async def test_the_end_of_a_stream_is_the_end_of_its_response_and_not_of_the_connection(client: Client):
    async with connection(client.port) as conn:
        for _ in range(2):
            await conn.send(client.request(START, echo(client), streaming=True))
            response = await conn.read_response()
            assert frames_from(response.body)[-1].payload == b"{}"


async def test_a_start_of_nothing_ends_like_an_unknown_command(processes: Processes):
    outcome = await processes.run(StartRequest())
    assert outcome.end.exit_code == 127
