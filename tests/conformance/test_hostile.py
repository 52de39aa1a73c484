"""Malformed, oversized and hostile input: a proper answer, and nothing else is disturbed."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from envd_proto.process.process_pb2 import StartRequest
from tests.support.connect import COMPRESSED, Client, Codec, ConnectError, error_in, error_of, frame
from tests.support.daemon import Daemon
from tests.support.faults import peak_bytes
from tests.support.http1 import Connection, Response, connection, exchange, request
from tests.support.process import (
    CONNECT,
    LIST,
    SEND_INPUT,
    SEND_SIGNAL,
    START,
    STREAM_INPUT,
    Processes,
    input_data,
    input_for,
    pid,
    start_request,
    tag,
)
from tests.support.wires import RpcError

MIB = 2**20


@pytest.fixture(autouse=True)
async def _nothing_else_is_disturbed(daemon: Daemon) -> AsyncIterator[None]:
    """A program that talks before and after, and a server that is still the same process."""
    server = daemon.server_pid()
    processes = Processes.on(daemon.port, Codec.PROTO)
    async with processes.start(start_request("cat")) as witness:
        yield
        await processes.send_input(pid(witness.pid), b"alive\n")
        await witness.until(b"alive\n")
    assert daemon.server_pid() == server


async def stream_error(client: Client, method: str, body: bytes, **options) -> ConnectError:
    response, frames = await client.stream_whole(method, body, **options)
    assert response.status == 200
    error = error_in(frames[-1])
    assert error is not None
    return error


def bomb(unpacked_bytes: int) -> bytes:
    """A gzip member of that many zeros, made without compressing them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b"\0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    # The check sum at the end is missing: whoever gets that far has unpacked everything.
    return head + block * (unpacked_bytes // MIB - 1) + packer.flush()


async def answer_to(port: int, data: bytes) -> Response:
    """The answer to bytes that the server may refuse before it has read them all."""
    async with connection(port) as conn:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send_what_is_taken(conn, data))
            response = await conn.read_response()
            sending.cancel()
        return response


async def _send_what_is_taken(conn: Connection, data: bytes) -> None:
    with suppress(ConnectionError):
        await conn.send(data)


# Headers


async def test_a_header_of_five_megabytes_is_431(daemon: Daemon):
    response = await answer_to(daemon.port, request("GET", "/health", headers={"X-Big": "x" * 5_000_000}))
    assert response.status == 431


async def test_a_hundred_thousand_headers_are_431(daemon: Daemon):
    headers = {f"X-{number}": "x" for number in range(100_000)}
    assert (await answer_to(daemon.port, request("GET", "/health", headers=headers))).status == 431


async def test_a_request_line_of_five_megabytes_is_refused(daemon: Daemon):
    assert (await answer_to(daemon.port, request("GET", "/" + "x" * 5_000_000))).status in {414, 431}


async def test_a_trailer_of_five_megabytes_is_refused(client: Client):
    whole = client.request(LIST, None, streaming=False, chunks=[b"{}"])
    trailer = b"X-Big: " + b"x" * 5_000_000 + b"\r\n\r\n"
    response = await answer_to(client.port, whole.removesuffix(b"\r\n") + trailer)
    assert response.status in {400, 413, 431}


async def test_headers_of_thirty_kilobytes_are_no_trouble(daemon: Daemon):
    response = await exchange(daemon.port, "GET", "/health", headers={"X-Big": "x" * 30_000})
    assert response.status == 204


# JSON


@pytest.mark.parametrize("where", [b'{"process": {"tag": "%b"}}', b"%b"], ids=["in a string", "outside"])
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xed\xa0\x80"], ids=["ff", "cut", "surrogate"])
async def test_invalid_utf_8_in_json_is_invalid(daemon: Daemon, where, bad):
    response = await Client(daemon.port, Codec.JSON).unary_raw(SEND_SIGNAL, where % bad)
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


async def test_invalid_utf_8_in_a_binary_string_is_invalid(daemon: Daemon):
    # SendSignalRequest.process.tag
    response = await Client(daemon.port, Codec.PROTO).unary_raw(SEND_SIGNAL, b"\x0a\x03\x12\x01\xff")
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


@pytest.mark.parametrize(
    "body",
    [
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"process":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=["open braces", "open brackets", "unknown fields", "known fields"],
)
async def test_a_hundred_thousand_nested_braces_are_invalid(daemon: Daemon, body):
    response = await Client(daemon.port, Codec.JSON).unary_raw(SEND_SIGNAL, body)
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


async def test_nested_braces_in_a_frame_are_invalid(daemon: Daemon):
    client = Client(daemon.port, Codec.JSON)
    assert (await stream_error(client, START, frame(b'{"process":' * 100_000))).code == "invalid_argument"


async def test_deeply_nested_binary_messages_are_refused(daemon: Daemon):
    # Field 1 of 1 of 1 ...: unknown to the message from the second level on, skipped or refused, never followed down.
    body = b""
    for _ in range(200):
        body = b"\x0a" + _varint(len(body)) + body
    response = await Client(daemon.port, Codec.PROTO).unary_raw(SEND_SIGNAL, body)
    assert response.status in {400, 501}


async def test_a_number_of_a_million_digits_is_invalid(daemon: Daemon):
    body = b'{"process": {"pid": ' + b"9" * MIB + b"}}"
    response = await Client(daemon.port, Codec.JSON).unary_raw(SEND_SIGNAL, body)
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


@pytest.mark.parametrize("value", [b"4294967296", b"-1", b"1.5", b'"x"', b"null", b"true", b"1e400", b"NaN"], ids=repr)
async def test_a_pid_that_is_none_is_refused(daemon: Daemon, value):
    response = await Client(daemon.port, Codec.JSON).unary_raw(SEND_SIGNAL, b'{"process": {"pid": %b}}' % value)
    assert (response.status, error_of(response).code) in {(400, "invalid_argument"), (501, "unimplemented")}


@pytest.mark.parametrize("text", ["!", "a", "YQ=", "YQ===", "Y Q", "\u0000"])
async def test_base64_that_is_none_is_invalid(daemon: Daemon, text):
    body = json.dumps({"process": {"pid": 1}, "input": {"stdin": text}}).encode()
    response = await Client(daemon.port, Codec.JSON).unary_raw(SEND_INPUT, body)
    # Without its padding it can still be read; then there is no program 1.
    assert response.status in {400, 404}


# Frames


@pytest.mark.parametrize("method", [START, CONNECT, STREAM_INPUT])
async def test_a_frame_that_claims_four_gigabytes_is_refused_unread(client: Client, method):
    async with connection(client.port) as conn:
        prefix = struct.pack(">BI", 0, 0xFFFFFFFF)
        whole = client.request(method, None, streaming=True, chunks=[prefix + b"x" * 100])
        # The body is not ended: the claim alone is the reason.
        await conn.send(whole.removesuffix(b"0\r\n\r\n"))
        async with client.response_on(conn) as stream:
            error = error_in(await stream.read_to_end())
    assert error is not None
    assert error.code == "resource_exhausted"


async def test_a_body_that_claims_four_gigabytes_is_refused_unread(client: Client):
    async with connection(client.port) as conn:
        await conn.send(client.request(LIST, b"", streaming=False, headers={"Content-Length": str(2**32)}))
        assert (await conn.read_response()).status in {413, 429}


@pytest.mark.parametrize("cut", [1, 4, 5, 6, -1])
async def test_half_a_frame_is_a_protocol_error(client: Client, cut):
    body = frame(client.codec.encode(start_request("true")))[:cut]
    error = await stream_error(client, START, body)
    assert error.code == "invalid_argument"
    assert "incomplete envelope" in error.message


@pytest.mark.parametrize("cut", [1, 4, 5, 6, -1])
@pytest.mark.parametrize("leave", [Connection.half_close, Connection.reset], ids=["close", "reset"])
async def test_half_a_frame_and_gone_disturbs_nobody(client: Client, cut, leave):
    body = frame(client.codec.encode(start_request("true")))[:cut]
    async with connection(client.port) as conn:
        whole = client.request(START, None, streaming=True, chunks=[body])
        await conn.send(whole.removesuffix(b"0\r\n\r\n"))
        leave(conn)
        await conn.read_to_end()


async def test_a_frame_behind_the_first_that_is_cut_is_a_protocol_error(client: Client):
    body = frame(client.codec.encode(start_request("true"))) + b"\0\0"
    assert (await stream_error(client, START, body)).code in {"invalid_argument", "unimplemented"}


@pytest.mark.parametrize("method", [START, CONNECT, STREAM_INPUT])
async def test_a_frame_of_garbage_is_invalid(client: Client, method):
    assert (await stream_error(client, method, frame(b"\xff\xff\xff"))).code == "invalid_argument"


async def test_a_frame_with_flags_nobody_knows_is_an_error(client: Client):
    body = frame(client.codec.encode(start_request("true")), flags=0x7C)
    assert (await stream_error(client, START, body)).code in {"invalid_argument", "internal"}


async def test_garbage_after_good_input_leaves_the_program_alone(over_connect: Processes):
    client = over_connect.client
    async with over_connect.start(start_request("cat")) as program:
        good = [input_for(pid(program.pid)), input_data(b"good\n")]
        body = b"".join(frame(client.codec.encode(message)) for message in good) + frame(b"\xff\xff\xff")
        assert (await stream_error(client, STREAM_INPUT, body)).code == "invalid_argument"
        await program.until(b"good\n")
        await over_connect.send_input(pid(program.pid), b"and on\n")
        await program.until(b"and on\n")


# Compression


async def test_a_gzip_bomb_in_a_body_is_refused_and_not_unpacked(client: Client, daemon: Daemon):
    before = peak_bytes(daemon.server_pid())
    response = await client.unary_raw(LIST, bomb(1024 * MIB), headers={"Content-Encoding": "gzip"})
    assert error_of(response).code == "resource_exhausted"
    assert peak_bytes(daemon.server_pid()) - before < 256 * MIB


async def test_a_gzip_bomb_in_a_frame_is_refused_and_not_unpacked(client: Client, daemon: Daemon):
    before = peak_bytes(daemon.server_pid())
    body = frame(bomb(1024 * MIB), flags=COMPRESSED)
    error = await stream_error(client, START, body, headers={"Connect-Content-Encoding": "gzip"})
    assert error.code == "resource_exhausted"
    assert peak_bytes(daemon.server_pid()) - before < 256 * MIB


@pytest.mark.parametrize(
    "body",
    [b"garbage", gzip.compress(b"{}")[:-9], gzip.compress(b"{}") + b"garbage", b""],
    ids=["garbage", "cut", "more behind", "nothing"],
)
async def test_gzip_that_is_none_is_invalid(daemon: Daemon, body):
    client = Client(daemon.port, Codec.JSON)
    response = await client.unary_raw(LIST, body, headers={"Content-Encoding": "gzip"})
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


# Size


async def code_or_exit(processes: Processes, request: StartRequest) -> str | int:
    """The code of the error of a Start, or the exit status of its program."""
    try:
        return (await processes.run(request)).end.exit_code
    except RpcError as error:
        return error.code


async def test_an_argument_longer_than_the_kernel_takes_is_refused(processes: Processes):
    request = start_request("true", "x" * (3 * MIB))
    # E2BIG, as an exec failure of the program or as an error of the call.
    assert await code_or_exit(processes, request) in {126, "invalid_argument"}


@pytest.mark.every_wire
async def test_a_message_larger_than_its_method_takes_is_refused(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.signal(tag("x" * 8 * MIB), number=9)
    assert error.value.code == "resource_exhausted"


async def test_a_megabyte_of_arguments_is_no_trouble(processes: Processes):
    outcome = await processes.run(start_request("sh", "-c", 'echo "$#"', "sh", *["x" * 1000] * 1000))
    assert outcome.stdout == b"1000\n"


@pytest.mark.parametrize("field", ["cmd", "args", "env", "cwd"])
async def test_a_null_byte_in_what_the_kernel_gets_is_invalid(processes: Processes, field):
    requests = {
        "cmd": start_request("tr\0ue"),
        "args": start_request("true", "a\0b"),
        "env": start_request("true", envs={"A": "b\0c"}),
        "cwd": start_request("true", cwd="/tmp\0"),
    }
    with pytest.raises(RpcError) as error:
        await processes.run(requests[field])
    assert error.value.code == "invalid_argument"


@pytest.mark.parametrize("name", ["", "A=B"])
async def test_a_variable_without_a_proper_name_does_not_break_the_start(processes: Processes, name):
    request = start_request("true", envs={name: "x"})
    assert await code_or_exit(processes, request) in {0, "invalid_argument"}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
