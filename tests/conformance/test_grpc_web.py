"""gRPC-Web over HTTP/1.1: its media types, frames, trailers, compression and deadlines, down to the bytes."""

from __future__ import annotations

import gzip
import json
import struct
import uuid
from urllib.parse import quote

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    CloseStdinRequest,
    ConnectRequest,
    ListResponse,
    ProcessSelector,
    SendSignalRequest,
    StartResponse,
)
from tests.support.connect import Codec
from tests.support.daemon import Daemon
from tests.support.frames import COMPRESSED, TRAILERS, Frame, FrameReader, frame
from tests.support.grpc_web import GrpcWeb, error_in, trailers_of
from tests.support.http1 import connection, exchange
from tests.support.process import (
    CLOSE_STDIN,
    CONNECT,
    LIST,
    NO_PID,
    SEND_SIGNAL,
    START,
    STREAM_INPUT,
    Processes,
    input_data,
    input_for,
    pid,
    shell,
    start_request,
    tag,
)
from tests.support.wires import RpcError, basic

GOOD_END = Frame(TRAILERS, b"grpc-status: 0\r\n")
EMPTY = frame(b"")
TYPES = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web+json",
    "application/grpc-web+json; charset=utf-8",
]


@pytest.fixture
def web(daemon: Daemon) -> GrpcWeb:
    return GrpcWeb(daemon.port)


@pytest.fixture
def web_json(daemon: Daemon) -> GrpcWeb:
    return GrpcWeb(daemon.port, codec=Codec.JSON)


def echo(web: GrpcWeb) -> bytes:
    return frame(web.codec.encode(start_request("echo", "hi")))


def nobody(web: GrpcWeb) -> bytes:
    """A SendSignal that is answered with not_found."""
    return frame(web.codec.encode(SendSignalRequest(process=pid(NO_PID), signal=SIGNAL_SIGKILL)))


async def failure(web: GrpcWeb, method: str, body: bytes | None, **options) -> RpcError:
    """The error of a call that fails before any message: HTTP 200 and a single trailer frame."""
    response, frames = await web.whole(method, body, **options)
    assert response.status == 200
    assert response.headers["Content-Type"] == web.content_type
    assert [found.flags for found in frames] == [TRAILERS]
    error = error_in(frames[0])
    assert error is not None
    return error


# Media types


@pytest.mark.line(42)
@pytest.mark.parametrize("content_type", TYPES)
async def test_a_unary_call_is_answered_with_a_message_and_a_trailer_frame(web: GrpcWeb, content_type):
    codec = Codec.JSON if "json" in content_type else Codec.PROTO
    body = frame(b"{}" if codec is Codec.JSON else b"")
    response, frames = await web.whole(LIST, body, headers={"Content-Type": content_type})
    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    assert [found.flags for found in frames] == [0, TRAILERS]
    codec.decode(frames[0].payload, ListResponse)
    assert frames[1] == GOOD_END


@pytest.mark.line(42)
@pytest.mark.parametrize("content_type", TYPES)
async def test_a_stream_is_answered_with_messages_and_a_trailer_frame(web: GrpcWeb, content_type):
    codec = Codec.JSON if "json" in content_type else Codec.PROTO
    body = frame(codec.encode(start_request("echo", "hi")))
    response, frames = await web.whole(START, body, headers={"Content-Type": content_type})
    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert [found.flags for found in frames] == [0] * (len(frames) - 1) + [TRAILERS]
    events = [codec.decode(found.payload, StartResponse).event for found in frames[:-1]]
    assert b"".join(event.data.stdout for event in events) == b"hi\n"
    assert frames[-1] == GOOD_END


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc-web+xml",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
        "application/grpc-webx",
    ],
)
async def test_another_content_type_is_415_and_told_what_is_accepted(daemon: Daemon, method, content_type):
    headers = {"Content-Type": content_type}
    response = await exchange(daemon.port, "POST", f"/{method}", headers=headers, body=EMPTY)
    accepted = {name.strip() for name in response.headers["Accept-Post"].split(",")}
    assert (response.status, response.body) == (415, b"")
    assert accepted >= set(TYPES)


async def test_another_http_method_is_405(web: GrpcWeb):
    response = await exchange(web.port, "GET", f"/{LIST}", headers={"Content-Type": web.content_type})
    assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_an_unknown_method_is_the_same_404_as_for_everybody(web: GrpcWeb):
    headers = {"Content-Type": web.content_type}
    response = await exchange(web.port, "POST", "/process.Process/Nope", headers=headers, body=EMPTY)
    assert (response.status, response.body) == (404, b"404 page not found\n")


# Goldens


@pytest.mark.line(42)
async def test_the_bytes_of_an_echo(web: GrpcWeb):
    _, (start, data, end, last) = await web.whole(START, b"\0\0\0\0\x0c\x0a\x0a\x0a\x04echo\x12\x02hi")
    assert start.payload[0] == 0x0A
    assert start.payload[2] == 0x0A
    assert data == Frame(0, b"\x0a\x07\x12\x05\x0a\x03hi\n")
    assert b"\x10\x01\x1a\x0dexit status 0" in end.payload
    assert last == Frame(0x80, b"grpc-status: 0\r\n")


@pytest.mark.line(42)
async def test_the_bytes_of_an_empty_answer(web: GrpcWeb):
    async with Processes(web).start(start_request("cat")) as program:
        body = frame(CloseStdinRequest(process=pid(program.pid)).SerializeToString())
        response, _ = await web.whole(CLOSE_STDIN, body)
        await program.rest()
    assert response.body == b"\0\0\0\0\0" + b"\x80\0\0\0\x10grpc-status: 0\r\n"


async def test_the_bytes_of_an_error(web: GrpcWeb):
    lines = b"grpc-status: 5\r\ngrpc-message: process with pid %d not found\r\n" % NO_PID
    response, _ = await web.whole(SEND_SIGNAL, nobody(web))
    assert response.body == b"\x80" + struct.pack(">I", len(lines)) + lines


async def test_the_bytes_of_an_error_of_a_stream_are_the_same(web: GrpcWeb):
    lines = b"grpc-status: 5\r\ngrpc-message: process with pid %d not found\r\n" % NO_PID
    body = frame(ConnectRequest(process=pid(NO_PID)).SerializeToString())
    response, _ = await web.whole(CONNECT, body)
    assert response.body == b"\x80" + struct.pack(">I", len(lines)) + lines


async def test_the_bytes_of_a_keepalive(web: GrpcWeb):
    body = frame(shell("exec sleep 1000").SerializeToString())
    async with connection(web.port) as conn:
        await conn.send(web.request(START, body, headers={"Keepalive-Ping-Interval": "1"}))
        reader = FrameReader(conn, await conn.read_head())
        start, keepalive = await reader.next_frame(), await reader.next_frame()
    assert keepalive == Frame(0, b"\x0a\x02\x22\x00")
    assert start is not None
    await Processes(web).signal(pid(StartResponse.FromString(start.payload).event.start.pid), SIGNAL_SIGKILL)


async def test_the_bytes_of_an_echo_in_json(web_json: GrpcWeb):
    _, (start, data, _, last) = await web_json.whole(START, b'\0\0\0\0\x28{"process":{"cmd":"echo","args":["hi"]}}')
    assert start.payload.startswith(b'{"event":{"start":{"pid":')
    assert data == Frame(0, b'{"event":{"data":{"stdout":"aGkK"}}}')
    assert last == GOOD_END


@pytest.mark.parametrize("text", ["100%", "ü–漢", "a\r\ngrpc-status: 0", "tab\there", '<&">'], ids=ascii)
async def test_what_is_not_plain_ascii_is_percent_encoded_in_a_message(web: GrpcWeb, text):
    name = text + uuid.uuid4().hex
    body = frame(SendSignalRequest(process=tag(name), signal=SIGNAL_SIGKILL).SerializeToString())
    _, (last,) = await web.whole(SEND_SIGNAL, body)
    plain = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
    assert trailers_of(last)["grpc-message"] == quote(f"process with tag {name} not found", safe=plain)
    assert len(trailers_of(last).lines) == 2


# Errors


@pytest.mark.parametrize("method", [LIST, START, CONNECT])
async def test_no_message_at_all_is_unimplemented(web: GrpcWeb, method):
    error = await failure(web, method, b"")
    assert error.code == "unimplemented"
    assert "zero messages" in error.message


@pytest.mark.parametrize("method", [LIST, START, CONNECT])
async def test_two_messages_where_one_is_due_are_unimplemented(web: GrpcWeb, method):
    error = await failure(web, method, EMPTY * 2)
    assert error.code == "unimplemented"
    assert "multiple messages" in error.message


async def test_no_message_at_all_is_a_fine_input_stream(web: GrpcWeb):
    _, frames = await web.whole(STREAM_INPUT, b"")
    assert frames == [Frame(0, b""), GOOD_END]


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
@pytest.mark.parametrize("cut", [1, 4, 5, 6, -1])
async def test_half_a_frame_is_a_protocol_error(web: GrpcWeb, method, cut):
    error = await failure(web, method, frame(b"\x0a\x02\x0a\x00")[:cut])
    assert error.code == "invalid_argument"
    assert "incomplete envelope" in error.message


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
async def test_a_message_of_other_bytes_is_invalid(web: GrpcWeb, method):
    error = await failure(web, method, frame(b"\xff\xff\xff"))
    assert error.code == "invalid_argument"
    assert error.message.startswith("unmarshal message: ")


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"process": 1}'], ids=repr)
async def test_a_message_of_malformed_json_is_invalid(web_json: GrpcWeb, body):
    assert (await failure(web_json, SEND_SIGNAL, frame(body))).code == "invalid_argument"


async def test_unknown_fields_are_ignored(web: GrpcWeb, web_json: GrpcWeb):
    # Field 500, a string: the tag is 500 << 3 | 2.
    for client, message in ((web, b"\xa2\x1f\x03abc"), (web_json, b'{"noSuchField": {"deep": [1, null]}}')):
        _, frames = await client.whole(LIST, frame(message))
        assert frames[-1] == GOOD_END


@pytest.mark.parametrize("flags", [0x02, 0x7C, 0x80])
async def test_a_frame_with_flags_nobody_knows_is_an_error(web: GrpcWeb, flags):
    assert (await failure(web, LIST, frame(b"", flags=flags))).code in {"invalid_argument", "internal"}


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
async def test_a_frame_that_claims_four_gigabytes_is_refused_unread(web: GrpcWeb, method):
    async with connection(web.port) as conn:
        prefix = struct.pack(">BI", 0, 0xFFFFFFFF)
        # The body is not ended: the claim alone is the reason.
        await conn.send(web.request(method, None, chunks=[prefix + b"x" * 100]).removesuffix(b"0\r\n\r\n"))
        reader = FrameReader(conn, await conn.read_head())
        last = await reader.next_frame()
    assert last is not None
    error = error_in(last)
    assert error is not None
    assert error.code == "resource_exhausted"


async def test_a_message_larger_than_its_method_takes_is_refused(web: GrpcWeb):
    body = frame(SendSignalRequest(process=tag("x" * 8 * 2**20), signal=SIGNAL_SIGKILL).SerializeToString())
    assert (await failure(web, SEND_SIGNAL, body)).code == "resource_exhausted"


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
async def test_an_unknown_user_is_told_so_in_the_trailer_frame(web: GrpcWeb, method):
    response, frames = await web.whole(method, EMPTY, headers=basic("nope"))
    assert (response.status, response.headers["Content-Type"]) == (200, web.content_type)
    assert frames == [Frame(TRAILERS, b"grpc-status: 16\r\ngrpc-message: invalid username: 'nope'\r\n")]


# Deadlines


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
@pytest.mark.parametrize("value", ["", "m", "1", "1x", "1.5S", "-1S", "abc", "123456789m", " ", "1 S", "٣S"], ids=ascii)
async def test_a_timeout_that_is_none_is_invalid(web: GrpcWeb, method, value):
    raw = value.encode().decode("latin-1")
    error = await failure(web, method, EMPTY, headers={"Grpc-Timeout": raw})
    assert error.code == "invalid_argument"
    assert "parse timeout" in error.message


@pytest.mark.parametrize("unit", "HMSmun")
async def test_a_deadline_of_zero_in_any_unit_has_passed(web: GrpcWeb, unit, tmp_path):
    proof = tmp_path / "started"
    body = frame(start_request("touch", str(proof)).SerializeToString())
    assert (await failure(web, START, body, headers={"Grpc-Timeout": f"0{unit}"})).code == "deadline_exceeded"
    assert (await failure(web, LIST, EMPTY, headers={"Grpc-Timeout": f"0{unit}"})).code == "deadline_exceeded"
    assert not proof.exists()


@pytest.mark.parametrize("value", ["1H", "1M", "20S", "20000m", "20000000u", "99999999n", "99999999H"])
async def test_a_deadline_is_understood_in_every_unit(web: GrpcWeb, value):
    # 99999999 nanoseconds are the most that unit can say: a tenth of a second.
    _, frames = await web.whole(LIST, EMPTY, headers={"Grpc-Timeout": value})
    assert frames[-1] == GOOD_END


@pytest.mark.parametrize("value", ["1S", "200m", "200000u", "99999999n"])
async def test_a_stream_ends_at_its_deadline_in_every_short_unit(web: GrpcWeb, value):
    async with Processes(web).start(start_request("sleep", "1000")) as program:
        body = frame(ConnectRequest(process=pid(program.pid)).SerializeToString())
        _, frames = await web.whole(CONNECT, body, headers={"Grpc-Timeout": value})
    assert frames[-1] == Frame(TRAILERS, b"grpc-status: 4\r\ngrpc-message: context deadline exceeded\r\n")


async def test_the_deadline_of_another_wire_means_nothing_here(web: GrpcWeb):
    _, frames = await web.whole(LIST, EMPTY, headers={"Connect-Timeout-Ms": "0"})
    assert frames[-1] == GOOD_END


# Compression


@pytest.mark.parametrize("accepted", ["gzip", "identity, gzip", "br,gzip"])
async def test_messages_are_compressed_for_a_client_that_accepts_it(web: GrpcWeb, accepted):
    response, frames = await web.whole(START, echo(web), headers={"Grpc-Accept-Encoding": accepted})
    assert response.headers["Grpc-Encoding"] == "gzip"
    assert {found.flags for found in frames[:-1]} == {COMPRESSED}
    events = [StartResponse.FromString(found.data).event for found in frames[:-1]]
    assert b"".join(event.data.stdout for event in events) == b"hi\n"
    # Trailers are not a message: no coding applies to them.
    assert frames[-1] == GOOD_END


async def test_a_client_that_names_no_coding_gets_none_and_is_told_of_gzip(web: GrpcWeb):
    response, frames = await web.whole(START, echo(web))
    assert response.headers.get("Grpc-Encoding") in {None, "identity"}
    assert response.headers["Grpc-Accept-Encoding"] == "gzip"
    assert {found.flags for found in frames[:-1]} == {0}


@pytest.mark.parametrize("method", [LIST, START])
async def test_a_compressed_request_is_read_and_answered_compressed(web: GrpcWeb, method):
    message = start_request("true").SerializeToString() if method == START else b""
    body = frame(gzip.compress(message), flags=COMPRESSED)
    response, frames = await web.whole(method, body, headers={"Grpc-Encoding": "gzip"})
    assert response.headers["Grpc-Encoding"] == "gzip"
    assert frames[0].flags == COMPRESSED
    assert frames[-1] == GOOD_END


async def test_a_plain_message_in_a_compressed_call_is_read(web: GrpcWeb):
    _, frames = await web.whole(LIST, EMPTY, headers={"Grpc-Encoding": "gzip"})
    assert frames[-1] == GOOD_END


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
async def test_an_unknown_coding_is_unimplemented_and_told_what_is_supported(web: GrpcWeb, method):
    response, frames = await web.whole(method, EMPTY, headers={"Grpc-Encoding": "br"})
    error = error_in(frames[-1])
    assert error is not None
    assert (error.code, error.message) == ("unimplemented", 'unknown compression "br": supported encodings are gzip')
    assert response.headers["Grpc-Accept-Encoding"] == "gzip"


async def test_a_compressed_message_without_a_coding_is_an_error(web: GrpcWeb):
    error = await failure(web, LIST, frame(gzip.compress(b""), flags=COMPRESSED))
    assert error.code == "internal"
    assert "sent compressed message without compression support" in error.message


@pytest.mark.parametrize("payload", [b"garbage", gzip.compress(b"")[:-9], b""], ids=["garbage", "cut", "nothing"])
async def test_a_compressed_message_that_is_none_is_invalid(web: GrpcWeb, payload):
    error = await failure(web, LIST, frame(payload, flags=COMPRESSED), headers={"Grpc-Encoding": "gzip"})
    assert error.code == "invalid_argument"


async def test_a_small_message_that_becomes_a_huge_one_is_refused(web: GrpcWeb):
    body = frame(gzip.compress(bytes(64 * 2**20)), flags=COMPRESSED)
    assert (await failure(web, START, body, headers={"Grpc-Encoding": "gzip"})).code == "resource_exhausted"


# Browsers


@pytest.mark.line(36)
async def test_a_preflight_is_answered_for_the_headers_browsers_send(daemon: Daemon):
    wanted = "content-type,x-grpc-web,x-user-agent,grpc-timeout,authorization,keepalive-ping-interval"
    headers = {
        "Origin": "https://example.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": wanted,
        **basic("nope"),
    }
    response = await exchange(daemon.port, "OPTIONS", f"/{START}", headers=headers)
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Methods"] == "POST"
    assert response.headers["Access-Control-Allow-Headers"] == wanted


@pytest.mark.line(37)
@pytest.mark.parametrize("headers", [{}, basic("nope")], ids=["answer", "refusal"])
async def test_a_script_may_read_the_answer_and_its_status(web: GrpcWeb, headers):
    response, _ = await web.whole(LIST, EMPTY, headers={"Origin": "https://example.test", **headers})
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    exposed = {name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"} <= exposed


# Connections


async def test_the_connection_serves_the_next_call_and_the_next_wire(web: GrpcWeb):
    async with connection(web.port) as conn:
        for _ in range(2):
            await conn.send(web.request(LIST, EMPTY))
            assert (await conn.read_response()).body.endswith(b"grpc-status: 0\r\n")
            await conn.send(web.request(LIST, b"{}", headers={"Content-Type": "application/json"}))
            json.loads((await conn.read_response()).body)


async def test_an_input_stream_that_is_cut_short_leaves_the_program_alone(web: GrpcWeb):
    processes = Processes(web)
    async with processes.start(start_request("cat")) as program:
        good = [input_for(ProcessSelector(pid=program.pid)), input_data(b"good\n")]
        chunks = [frame(message.SerializeToString()) for message in good]
        async with connection(web.port) as conn:
            await conn.send(web.request(STREAM_INPUT, None, chunks=chunks).removesuffix(b"0\r\n\r\n"))
            await program.until(b"good\n")
            conn.reset()
        await processes.send_input(pid(program.pid), b"and on\n")
        await program.until(b"and on\n")
