"""The exact bytes of frames, as published clients have always had them.

Additive fields follow the old ones, so the start of an event is compared where fields of ours may come after.
"""

from __future__ import annotations

import pytest

from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, ConnectRequest, ProcessSelector, SendSignalRequest
from tests.support.connect import END_STREAM, Client, Codec, Frame, frame
from tests.support.daemon import Daemon
from tests.support.process import CONNECT, NO_PID, SEND_SIGNAL, START, Processes, shell


@pytest.fixture
def as_json(daemon: Daemon) -> Client:
    return Client(daemon.port, Codec.JSON)


@pytest.fixture
def as_proto(daemon: Daemon) -> Client:
    return Client(daemon.port, Codec.PROTO)


async def payloads(client: Client, script: str) -> list[bytes]:
    _, frames = await client.stream_whole(START, frame(client.codec.encode(shell(script))))
    return [found.payload for found in frames]


def varint(data: bytes) -> tuple[int, bytes]:
    """A number in protobuf's variable length, and what follows it."""
    value = 0
    for position, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value, data[position + 1 :]
    raise ValueError(data)


@pytest.mark.line(27, 28, 171)
async def test_the_frames_of_an_echo_in_json(as_json: Client):
    _, frames = await as_json.stream_whole(START, b'\0\0\0\0\x28{"process":{"cmd":"echo","args":["hi"]}}')
    start, data, end, last = frames
    assert start.payload.startswith(b'{"event":{"start":{"pid":')
    assert (data.flags, data.payload) == (0, b'{"event":{"data":{"stdout":"aGkK"}}}')
    assert end.payload.startswith(b'{"event":{"end":{"exited":true,"status":"exit status 0",')
    assert (last.flags, last.payload) == (2, b"{}")


@pytest.mark.line(27, 28, 171)
async def test_the_frames_of_an_echo_in_binary(as_proto: Client):
    _, frames = await as_proto.stream_whole(START, b"\0\0\0\0\x0c\x0a\x0a\x0a\x04echo\x12\x02hi")
    start, data, end, last = frames
    assert data == Frame(0, b"\x0a\x07\x12\x05\x0a\x03hi\n")
    assert (last.flags, last.payload) == (2, b"{}")
    for event, number in ((start, 1), (end, 3)):
        assert event.payload[0] == 0x0A
        size, rest = varint(event.payload[1:])
        assert (size, rest[0]) == (len(rest), number << 3 | 2)
        size, rest = varint(rest[1:])
        assert size == len(rest)
        if event is start:
            assert rest[0] == 0x08
        else:
            assert rest.startswith(b"\x10\x01\x1a\x0dexit status 0")


@pytest.mark.line(20, 172)
async def test_an_exit_status_in_json(as_json: Client):
    end = (await payloads(as_json, "exit 3"))[-2]
    expected = b'{"event":{"end":{"exitCode":3,"exited":true,"status":"exit status 3","error":"exit status 3"'
    assert end.startswith(expected)


@pytest.mark.line(172)
async def test_an_exit_status_in_binary(as_proto: Client):
    end = (await payloads(as_proto, "exit 3"))[-2]
    # sint32 3 is 6 in zig-zag.
    assert b"\x08\x06\x10\x01\x1a\x0dexit status 3\x22\x0dexit status 3" in end


@pytest.mark.line(20, 173)
async def test_a_death_by_signal_in_json(as_json: Client):
    end = (await payloads(as_json, "kill -KILL $$"))[-2]
    expected = b'{"event":{"end":{"exitCode":-1,"status":"signal: killed","error":"signal: killed"'
    assert end.startswith(expected)


@pytest.mark.line(173)
async def test_a_death_by_signal_in_binary(as_proto: Client):
    end = (await payloads(as_proto, "kill -KILL $$"))[-2]
    # sint32 -1 is 1 in zig-zag; exited is absent.
    assert b"\x08\x01\x1a\x0esignal: killed\x22\x0esignal: killed" in end


@pytest.mark.line(19)
async def test_64_bit_numbers_are_strings_in_json(as_json: Client):
    script = "echo one; read line; echo two"
    processes = Processes(as_json)
    async with processes.start(shell(script)) as program:
        await program.until(b"one\n")
        await processes.send_input(ProcessSelector(pid=program.pid), b"\n")
        found = await program.stream.next_frame()
        assert found is not None
        assert found.payload == b'{"event":{"data":{"stdout":"dHdvCg==","offset":"4"}}}'


async def test_standard_error_in_json_and_in_binary(as_json: Client, as_proto: Client):
    script = "echo err >&2"
    assert (await payloads(as_json, script))[1] == b'{"event":{"data":{"stderr":"ZXJyCg=="}}}'
    assert (await payloads(as_proto, script))[1] == b"\x0a\x08\x12\x06\x12\x04err\n"


@pytest.mark.line(21)
async def test_an_enum_is_a_name_in_json(as_json: Client):
    assert b'"cause":"CAUSE_ITSELF"' in (await payloads(as_json, "true"))[-2]


async def test_a_keepalive_in_json(as_json: Client):
    headers = {"Keepalive-Ping-Interval": "1"}
    async with Processes(as_json).start(shell("exec sleep 1000"), headers=headers) as program:
        found = await program.stream.next_frame()
    assert found is not None
    assert found.payload == b'{"event":{"keepalive":{}}}'


async def test_a_keepalive_in_binary(as_proto: Client):
    headers = {"Keepalive-Ping-Interval": "1"}
    async with Processes(as_proto).start(shell("exec sleep 1000"), headers=headers) as program:
        found = await program.stream.next_frame()
    assert found is not None
    assert found.payload == b"\x0a\x02\x22\x00"


@pytest.mark.line(14)
async def test_a_unary_error(client: Client):
    request = SendSignalRequest(process=ProcessSelector(pid=NO_PID), signal=SIGNAL_SIGKILL)
    response = await client.unary_raw(SEND_SIGNAL, client.codec.encode(request))
    assert response.body == b'{"code":"not_found","message":"process with pid %d not found"}' % NO_PID


@pytest.mark.line(29)
async def test_an_end_stream_frame_with_an_error_is_json_in_either_codec(client: Client):
    body = frame(client.codec.encode(ConnectRequest(process=ProcessSelector(pid=NO_PID))))
    response, _ = await client.stream_whole(CONNECT, body)
    error = b'{"error":{"code":"not_found","message":"process with pid %d not found"}}' % NO_PID
    assert response.body == frame(error, flags=END_STREAM)
