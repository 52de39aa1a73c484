"""Native gRPC: reflection, health, its own ways to fail, many calls on one connection, and its bytes."""

from __future__ import annotations

import asyncio
import gzip
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    CloseStdinRequest,
    ListRequest,
    ListResponse,
    ProcessEvent,
    SendSignalRequest,
    StartRequest,
    StartResponse,
    StreamInputResponse,
)
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.frames import COMPRESSED, Frame, frame, frames_from
from tests.support.grpc import Grpc, answered, channel, rpc_error, serialize
from tests.support.http1 import connection
from tests.support.http2 import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PRIORITY_FLAG,
    RST_STREAM,
    Http2,
    call_fields,
    h2_frame,
    literal,
)
from tests.support.kernel import Gate, exited, is_running
from tests.support.process import (
    CLOSE_STDIN,
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

MIB = 2**20
LINES = 150_000
PROCESS, HEALTH, REFLECTION = "process.Process", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def native(daemon: Daemon) -> AsyncIterator[Grpc]:
    async with Grpc.open(daemon.port) as opened:
        yield opened


@pytest.fixture
def over_grpc(native: Grpc) -> Processes:
    return Processes(native)


async def answer(native: Grpc, method: str, data: bytes = b"", **options: Any) -> bytes:
    """The bytes of the answer to a unary call of any bytes; RpcError if that is the answer."""
    try:
        return await native.channel.unary_unary(f"/{method}")(data, **options)
    except grpc.RpcError as error:
        raise rpc_error(error) from error


async def answers(native: Grpc, method: str, *data: bytes, **options: Any) -> list[bytes]:
    """The same for a stream of messages, answered with a stream."""

    async def call() -> list[bytes]:
        return [found async for found in native.channel.stream_stream(f"/{method}")(iter(data), **options)]

    try:
        return await answered(call)
    except grpc.RpcError as error:
        raise rpc_error(error) from error


async def code_of(call: Any) -> str:
    with pytest.raises(RpcError) as error:
        await call
    return error.value.code


# Reflection and health


async def reflect(native: Grpc, request: reflection_pb2.ServerReflectionRequest) -> Any:
    (found,) = await answers(native, f"{REFLECTION}/ServerReflectionInfo", request.SerializeToString())
    return reflection_pb2.ServerReflectionResponse.FromString(found)


async def test_reflection_lists_the_services(native: Grpc):
    response = await reflect(native, reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in response.list_services_response.service}
    assert {PROCESS, HEALTH, REFLECTION} <= names


async def test_reflection_describes_the_methods(native: Grpc):
    response = await reflect(native, reflection_pb2.ServerReflectionRequest(file_containing_symbol=PROCESS))
    files = [FileDescriptorProto.FromString(data) for data in response.file_descriptor_response.file_descriptor_proto]
    methods = {method.name: method for file in files for service in file.service for method in service.method}
    assert {"List", "Start", "StreamInput"} <= set(methods)
    assert methods["Start"].server_streaming
    assert methods["StreamInput"].client_streaming


async def check_health(native: Grpc, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    return health_pb2.HealthCheckResponse.FromString(await answer(native, f"{HEALTH}/Check", request)).status


@pytest.mark.parametrize("service", ["", PROCESS])
async def test_a_service_is_healthy(native: Grpc, service):
    assert await check_health(native, service) == SERVING


async def test_the_health_of_an_unknown_service_is_not_found(native: Grpc):
    assert await code_of(check_health(native, "no.such.Service")) == "not_found"


@pytest.mark.parametrize("service", ["", PROCESS])
async def test_who_watches_the_health_learns_of_the_stop(service):
    async with running_daemon() as daemon, channel(daemon.port) as opened:
        watch = opened.unary_stream(
            f"/{HEALTH}/Watch",
            request_serializer=serialize,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        call = watch(health_pb2.HealthCheckRequest(service=service))
        assert (await call.read()).status == SERVING
        stopping = asyncio.create_task(asyncio.to_thread(daemon.stop))
        async with asyncio.timeout(60):
            assert (await call.read()).status == NOT_SERVING
        call.cancel()
        await stopping


# Failures


@pytest.mark.parametrize("method", ["process.Process/Nope", "no.such.Service/List", "process.Process/", "nope"])
async def test_an_unknown_method_is_unimplemented(native: Grpc, method):
    assert await code_of(answer(native, method)) == "unimplemented"


@pytest.mark.parametrize("method", [LIST, SEND_SIGNAL, START, STREAM_INPUT])
async def test_a_message_of_other_bytes_is_invalid(native: Grpc, method):
    with pytest.raises(RpcError) as error:
        await answers(native, method, b"\xff\xff\xff")
    assert error.value.code == "invalid_argument"
    assert error.value.message.startswith("unmarshal message: ")


async def test_unknown_fields_are_ignored(native: Grpc):
    # Field 500, a string: the tag is 500 << 3 | 2.
    ListResponse.FromString(await answer(native, LIST, b"\xa2\x1f\x03abc"))


@pytest.mark.parametrize("method", [LIST, START])
@pytest.mark.parametrize("count", [0, 2])
async def test_none_or_two_messages_where_one_is_due_are_an_error(native: Grpc, method, count, tmp_path):
    proof = tmp_path / "started"
    request = start_request("touch", str(proof)).SerializeToString() if method == START else b""
    assert await code_of(answers(native, method, *[request] * count)) in {"unimplemented", "internal"}
    assert not proof.exists()


async def test_a_message_larger_than_its_method_takes_is_refused(native: Grpc):
    request = SendSignalRequest(process=tag("x" * 8 * MIB), signal=SIGNAL_SIGKILL)
    assert await code_of(answer(native, SEND_SIGNAL, request.SerializeToString())) == "resource_exhausted"


@pytest.mark.parametrize("method", [LIST, START, STREAM_INPUT])
async def test_a_message_larger_than_any_method_takes_is_refused(native: Grpc, method):
    assert await code_of(answers(native, method, bytes(80 * MIB))) == "resource_exhausted"


async def test_a_start_of_many_megabytes_is_no_trouble(over_grpc: Processes):
    outcome = await over_grpc.run(start_request("true", tag="x" * 16 * MIB))
    assert outcome.end.exit_code == 0


async def test_a_user_goes_as_metadata(native: Grpc, other_user):
    call = native.channel.unary_stream(
        f"/{START}", request_serializer=serialize, response_deserializer=StartResponse.FromString
    )
    metadata = [("authorization", basic(other_user.pw_name)["Authorization"])]
    events = [found.event async for found in call(start_request("id", "-un"), metadata=metadata)]
    assert b"".join(event.data.stdout for event in events).decode().strip() == other_user.pw_name


@pytest.mark.parametrize("name", ["envd-call", "content-length", "x-own", "x-own-bin"])
async def test_what_else_a_client_sends_as_metadata_does_no_harm(native: Grpc, name):
    value = b"\0\xff" if name.endswith("-bin") else "1"
    ListResponse.FromString(await answer(native, LIST, metadata=[(name, value), (name, value)]))


def private_sockets(server: int) -> list[Path]:
    """The gRPC sockets of one server, for its own user and root: their names are gone."""
    found = []
    for path in Path(f"/proc/{server}/fd").iterdir():
        with suppress(FileNotFoundError):  # one that others use may be closed meanwhile
            if os.readlink(path).endswith("/grpc (deleted)"):
                found.append(path)
    return found


async def test_the_private_socket_serves_nobody_else(native: Grpc, daemon: Daemon):
    await answer(native, LIST)
    paths = private_sockets(daemon.server_pid())
    assert paths
    for path in paths:
        async with grpc.aio.insecure_channel(f"unix:{path}") as stranger:
            for metadata in ([], [("envd-call", "x.1")]):
                with pytest.raises(grpc.RpcError) as error:
                    await stranger.unary_unary(f"/{LIST}")(b"", metadata=metadata)
                assert rpc_error(error.value).code == "permission_denied"


# Deadlines


@pytest.mark.line(202)
async def test_a_deadline_kills_the_whole_tree(over_grpc: Processes):
    async with over_grpc.start(shell("sleep 1000 & echo $!; wait"), timeout_s=3) as program:
        child = int(await program.line())
        with pytest.raises(RpcError) as error:
            await program.rest()
        await exited(program.pid, child)
    assert error.value.code == "deadline_exceeded"


@pytest.mark.parametrize("unit", "HMSmun")
async def test_a_deadline_that_has_passed_starts_nothing(daemon: Daemon, over_grpc: Processes, unit, tmp_path):
    proof = tmp_path / "started"
    message = frame(start_request("touch", str(proof)).SerializeToString())
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, START, message, ("grpc-timeout", f"0{unit}")))
        assert DATA not in {part.kind for part in await client.response(1)}
    assert (await over_grpc.run(start_request("true"))).end.exited
    assert not proof.exists()


@pytest.mark.line(186)
@pytest.mark.parametrize("timeout_s", [None, 1000], ids=["no deadline", "a deadline"])
async def test_a_cancelled_stream_does_not_kill_its_program(over_grpc: Processes, timeout_s):
    async with over_grpc.start(start_request("cat"), timeout_s=timeout_s) as program:
        program.leave()
        await over_grpc.send_input(pid(program.pid), b"still here\n")
        async with over_grpc.connect(pid(program.pid)) as follower:
            await follower.until(b"still here\n")
        assert is_running(program.pid)


@pytest.mark.line(202)
async def test_a_cancelled_stream_does_not_lift_its_deadline(over_grpc: Processes):
    async with over_grpc.start(start_request("sleep", "1000"), timeout_s=3) as program:
        program.leave()
        assert is_running(program.pid)
        await exited(program.pid)


@pytest.mark.line(186)
async def test_a_closed_channel_does_not_kill_its_programs(daemon: Daemon):
    async with Grpc.open(daemon.port) as first:
        call = first.channel.unary_stream(
            f"/{START}", request_serializer=serialize, response_deserializer=StartResponse.FromString
        )(start_request("cat"))
        number = (await call.read()).event.start.pid
    async with Grpc.open(daemon.port) as second:
        processes = Processes(second)
        assert number in await processes.pids()
        await processes.close_stdin(pid(number))
        assert (await processes.replay(pid(number))).end.exit_code == 0


@pytest.mark.line(188)
@pytest.mark.parametrize("leave", [RST_STREAM, None], ids=["cancelled", "closed"])
async def test_what_had_not_arrived_when_a_client_left_is_replayed(
    daemon: Daemon, over_grpc: Processes, gate: Gate, leave
):
    request = shell(f"seq {LINES}; read _ < {gate.path}; echo last")
    async with connection(daemon.port, receive_buffer_bytes=64 * 1024) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, START, frame(request.SerializeToString())))
        got = b""
        while len(got) < 100_000:
            found = await client.next_frame()
            got += found.payload if found.kind == DATA else b""
        number = StartResponse.FromString(got[5 : 5 + got[4]]).event.start.pid
        if leave is not None:
            await conn.send(h2_frame(RST_STREAM, struct.pack(">I", CANCEL), stream=1))
            # All the server has sent of the stream by then is on its way before the answer.
            got += await client.until_ack_of_ping()
        else:
            client.half_close()
            with suppress(EOFError, ConnectionError):
                while True:
                    found = await client.next_frame()
                    got += found.payload if found.kind == DATA else b""
    seen = b"".join(event.data.stdout for event in events_in(got))
    gate.open()
    outcome = await over_grpc.replay(pid(number))
    begin = outcome.data[0].offset
    assert begin <= len(seen)
    assert outcome.stdout == (b"".join(b"%d\n" % line for line in range(1, LINES + 1)) + b"last\n")[begin:]


def events_in(body: bytes) -> list[ProcessEvent]:
    """The events in the whole messages of a body that may end inside one."""
    found = []
    while len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
        size = int.from_bytes(body[1:5], "big")
        found.append(StartResponse.FromString(body[5 : 5 + size]).event)
        body = body[5 + size :]
    return found


# Compression


@pytest.mark.parametrize("coding", [grpc.Compression.Gzip, grpc.Compression.NoCompression], ids=["gzip", "none"])
async def test_a_request_may_be_compressed(native: Grpc, coding):
    request = start_request("sh", "-c", 'echo "$#"', "sh", *["x" * 1000] * 100)
    call = native.channel.unary_stream(
        f"/{START}", request_serializer=serialize, response_deserializer=StartResponse.FromString
    )(request, compression=coding)
    events = [found.event async for found in call]
    assert b"".join(event.data.stdout for event in events) == b"100\n"


async def test_a_small_message_that_becomes_a_huge_one_is_refused(native: Grpc):
    call = answers(native, START, bytes(33 * MIB), compression=grpc.Compression.Gzip)
    assert await code_of(call) == "resource_exhausted"


# Many calls on one connection


async def test_fifty_streams_live_side_by_side_on_one_connection(over_grpc: Processes):
    async def talk(number: int) -> None:
        async with over_grpc.start(start_request("cat")) as program:
            await over_grpc.send_input(pid(program.pid), b"%d\n" % number)
            await program.until(b"%d\n" % number)
            await over_grpc.close_stdin(pid(program.pid))
            assert (await program.rest()).stdout == b"%d\n" % number

    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(talk(number))


async def test_a_reader_that_stops_does_not_hold_up_the_other_calls_of_its_connection(over_grpc: Processes):
    async with over_grpc.start(start_request("head", "-c", str(64 * MIB), "/dev/zero")) as stalled:
        for _ in range(3):
            outcome = await over_grpc.run(start_request("head", "-c", str(4 * MIB), "/dev/zero"))
            assert len(outcome.stdout) == 4 * MIB
        assert is_running(stalled.pid)
        assert len((await stalled.rest()).stdout) == 64 * MIB


async def test_a_cancelled_call_does_not_disturb_the_others_of_its_connection(over_grpc: Processes, gate: Gate):
    async with AsyncExitStack() as stack:
        request = shell(f"echo ready; read _ < {gate.path}; seq 10000; exec cat")
        kept = await stack.enter_async_context(over_grpc.start(request))
        await kept.until(b"ready\n")
        for _ in range(100):
            call = over_grpc.connect(pid(kept.pid))
            follower = await call.__aenter__()
            follower.leave()
            await call.__aexit__(None, None, None)
        gate.open()
        await kept.until(b"\n10000\n")
        assert kept.seen.stdout == b"ready\n" + b"".join(b"%d\n" % number for number in range(1, 10_001))


async def test_input_streams_and_output_streams_share_a_connection(over_grpc: Processes, native: Grpc):
    async with over_grpc.start(start_request("cat")) as program:
        call = native.channel.stream_unary(
            f"/{STREAM_INPUT}", request_serializer=serialize, response_deserializer=StreamInputResponse.FromString
        )()
        # Written one by one: each is there before the next is thought of.
        for request in [input_for(pid(program.pid)), *[input_data(b"%d\n" % line) for line in range(10)]]:
            await call.write(request)
        await program.until(b"9\n")
        await call.done_writing()
        assert await call == StreamInputResponse()


# Bytes


async def test_a_first_line_that_comes_in_pieces_is_understood(daemon: Daemon):
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        for position in range(len(client.opening)):
            await conn.send(client.opening[position : position + 1])
        await conn.send(client.call(1, LIST, frame(b"")))
        assert [found.kind for found in await client.response(1)][-1] == HEADERS


async def test_both_protocols_are_served_on_the_port_at_the_same_time(daemon: Daemon, native: Grpc):
    over_http1 = Processes(Client(daemon.port, Codec.JSON))
    async with over_http1.start(start_request("cat")) as program:
        assert program.pid in await Processes(native).pids()
        async with Processes(native).connect(pid(program.pid)) as follower:
            await over_http1.send_input(pid(program.pid), b"both\n")
            await follower.until(b"both\n")


async def body(daemon: Daemon, method: str, message: bytes, *headers: tuple[str, str]) -> list[Frame]:
    """The messages of a call as they stand in its DATA frames."""
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, method, frame(message), *headers))
        found = await client.response(1)
    assert found[0].kind == found[-1].kind == HEADERS
    assert found[-1].flags & END_STREAM
    return frames_from(b"".join(part.payload for part in found if part.kind == DATA))


async def test_a_priority_is_understood(daemon: Daemon):
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        # A dependency on no stream with a weight, then the fields.
        block = struct.pack(">IB", 0, 15) + call_fields(LIST)
        headers = h2_frame(HEADERS, block, flags=PRIORITY_FLAG | END_HEADERS, stream=1)
        await conn.send(client.opening + headers + h2_frame(DATA, frame(b""), flags=END_STREAM, stream=1))
        assert DATA in {part.kind for part in await client.response(1)}


async def test_padding_is_understood_or_refused(daemon: Daemon):
    # The library does not know padding in DATA frames. What it must not do is take it for a message.
    async with connection(daemon.port) as conn:
        client, pad, message = Http2(conn), 7, start_request("true").SerializeToString()
        headers = h2_frame(HEADERS, call_fields(START), flags=END_HEADERS, stream=1)
        data = bytes((pad,)) + frame(message) + bytes(pad)
        await conn.send(client.opening + headers + h2_frame(DATA, data, flags=PADDED | END_STREAM, stream=1))
        with suppress(EOFError):
            found = frames_from(b"".join(part.payload for part in await client.response(1) if part.kind == DATA))
            assert not found or StartResponse.FromString(found[-1].payload).event.end.exited


async def test_a_header_block_in_pieces_is_understood(daemon: Daemon):
    block = call_fields(LIST)
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        parts = [h2_frame(CONTINUATION, block[at : at + 1], stream=1) for at in range(1, len(block))]
        headers = h2_frame(HEADERS, block[:1], stream=1) + b"".join(parts)
        await conn.send(client.opening + headers + h2_frame(CONTINUATION, b"", flags=END_HEADERS, stream=1))
        await conn.send(h2_frame(DATA, frame(b""), flags=END_STREAM, stream=1))
        assert DATA in {part.kind for part in await client.response(1)}


async def test_an_input_stream_may_end_with_trailers(daemon: Daemon):
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, STREAM_INPUT, b"", end=False))
        block = literal("x-own", "1")
        await conn.send(h2_frame(HEADERS, block, flags=END_HEADERS | END_STREAM, stream=1))
        assert DATA in {part.kind for part in await client.response(1)}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/grpcx", ""])
async def test_another_content_type_is_answered_somehow(daemon: Daemon, content_type):
    # The library takes every one for its own.
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, LIST, frame(b""), content_type=content_type))
        await client.response(1)
        await conn.send(client.call(3, LIST, frame(b"")))
        assert DATA in {part.kind for part in await client.response(3)}


async def test_the_bytes_of_an_echo(daemon: Daemon):
    start, data, end = await body(daemon, START, b"\x0a\x0a\x0a\x04echo\x12\x02hi")
    assert (start.flags, start.payload[0], start.payload[2]) == (0, 0x0A, 0x0A)
    assert data == Frame(0, b"\x0a\x07\x12\x05\x0a\x03hi\n")
    assert b"\x10\x01\x1a\x0dexit status 0" in end.payload


async def test_the_bytes_of_an_empty_answer(daemon: Daemon, over_grpc: Processes):
    async with over_grpc.start(start_request("cat")) as program:
        request = CloseStdinRequest(process=pid(program.pid)).SerializeToString()
        assert await body(daemon, CLOSE_STDIN, request) == [Frame(0, b"")]


async def test_the_bytes_of_a_keepalive(daemon: Daemon):
    request: StartRequest = shell("sleep 1.5")
    found = await body(daemon, START, request.SerializeToString(), ("keepalive-ping-interval", "1"))
    assert Frame(0, b"\x0a\x02\x22\x00") in found


async def test_an_error_has_no_message_frames(daemon: Daemon):
    request = SendSignalRequest(process=pid(NO_PID), signal=SIGNAL_SIGKILL).SerializeToString()
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, SEND_SIGNAL, frame(request)))
        found = await client.response(1)
    assert {part.kind for part in found} == {HEADERS}


async def test_a_compressed_message_is_read(daemon: Daemon):
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        message = frame(gzip.compress(ListRequest().SerializeToString()), flags=COMPRESSED)
        await conn.send(client.opening + client.call(1, LIST, message, ("grpc-encoding", "gzip")))
        found = await client.response(1)
    (only,) = frames_from(b"".join(part.payload for part in found if part.kind == DATA))
    ListResponse.FromString(only.data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: frame(b"")[:3],
        lambda: struct.pack(">BI", 0, 100) + b"x" * 10,
        lambda: frame(b"", flags=COMPRESSED),
        lambda: struct.pack(">BI", 0, 0xFFFFFFFF),
    ],
    ids=["cut prefix", "cut message", "compressed without a coding", "four gigabytes"],
)
async def test_a_malformed_message_ends_its_call_and_not_the_connection(daemon: Daemon, make: Callable[[], bytes]):
    async with connection(daemon.port) as conn:
        client = Http2(conn)
        await conn.send(client.opening + client.call(1, START, make()))
        found = await client.response(1)
        assert DATA not in {part.kind for part in found}
        await conn.send(client.call(3, LIST, frame(b"")))
        assert DATA in {part.kind for part in await client.response(3)}
