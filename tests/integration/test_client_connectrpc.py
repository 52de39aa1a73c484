"""The published `connectrpc` package as a client, over each protocol and codec it speaks.

It is handed our own stubs, so it runs in this process; its transport is Rust's hyper and not Python's.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from envd_proto.process import process_pb2
from envd_proto.process.process_pb2 import (
    PTY,
    SIGNAL_SIGKILL,
    ConnectRequest,
    ListRequest,
    OutputPosition,
    ProcessConfig,
    ProcessInput,
    SendInputRequest,
    SendSignalRequest,
    StartRequest,
    StreamInputRequest,
)
from envd_proto.pty import pty_pb2
from envd_proto.pty.pty_pb2 import Input, Opening, OpenRequest
from tests.support.daemon import Daemon
from tests.support.process import NO_PID, Outcome, input_data, input_for, input_keepalive, pid, shell

pytest.importorskip("connectrpc", reason="the connectrpc package is not installed: see the extra sdk-test")
pytest.importorskip("connectrpc.compat", reason="this connectrpc cannot be handed stubs of google.protobuf")

from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo
from connectrpc.protocol import ProtocolType
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

TIMEOUT_MS = 30_000
PROCESS = process_pb2.DESCRIPTOR.services_by_name["Process"].methods_by_name
PTYS = pty_pb2.DESCRIPTOR.services_by_name["Pty"].methods_by_name
CODECS = {"proto": google_protobuf_binary_codec, "json": google_protobuf_json_codec}
# Native gRPC is served with protobuf's binary messages only.
WIRES = [
    (ProtocolType.CONNECT, "proto"),
    (ProtocolType.CONNECT, "json"),
    (ProtocolType.GRPC_WEB, "proto"),
    (ProtocolType.GRPC_WEB, "json"),
    (ProtocolType.GRPC, "proto"),
]


@dataclass(frozen=True, slots=True)
class Process:
    """What is called of the services, by its names in the contract."""

    client: ConnectClientSync

    def unary(self, method: str, request: Message) -> Any:
        return self.client.execute_unary(request=request, method=info(PROCESS[method]), timeout_ms=TIMEOUT_MS)

    def stream(self, method: str, request: Message, *, timeout_ms: int = TIMEOUT_MS) -> Iterator[Any]:
        return self.client.execute_server_stream(request=request, method=info(PROCESS[method]), timeout_ms=timeout_ms)

    def stream_input(self, messages: Iterator[StreamInputRequest]) -> Any:
        return self.client.execute_client_stream(
            request=messages, method=info(PROCESS["StreamInput"]), timeout_ms=TIMEOUT_MS
        )

    def open_terminal(self, messages: Iterator[OpenRequest]) -> Iterator[Any]:
        return self.client.execute_bidi_stream(request=messages, method=info(PTYS["Open"]), timeout_ms=TIMEOUT_MS)

    def run(self, request: StartRequest) -> Outcome:
        return Outcome([message.event for message in self.stream("Start", request)])


def info(method: MethodDescriptor) -> MethodInfo[Any, Any]:
    return MethodInfo(
        name=method.name,
        service_name=method.containing_service.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,
    )


@pytest.fixture(params=WIRES, ids=lambda wire: f"{wire[0].name.lower()}-{wire[1]}")
def process(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[Process]:
    protocol, codec = request.param
    version = HTTPVersion.HTTP2 if protocol is ProtocolType.GRPC else HTTPVersion.HTTP1
    with (
        SyncHTTPTransport(http_version=version) as transport,
        ConnectClientSync(
            f"http://127.0.0.1:{daemon.port}",
            codec=CODECS[codec](),
            protocol=protocol,
            http_client=SyncClient(transport),
        ) as client,
    ):
        yield Process(client)


def test_a_program_streams_its_output_and_its_end(process):
    outcome = process.run(shell("echo out; echo err >&2; exit 3"))
    assert (outcome.stdout, outcome.stderr) == (b"out\n", b"err\n")
    assert (outcome.end.exit_code, outcome.end.exited, outcome.end.status) == (3, True, "exit status 3")


def test_three_megabytes_arrive_whole(process):
    assert len(process.run(shell("head -c 3000000 /dev/zero")).stdout) == 3_000_000


def test_a_running_program_is_listed_answers_input_and_is_killed(process):
    with closing(process.stream("Start", shell("echo ready; while read -r line; do echo got $line; done"))) as messages:
        seen = Outcome([next(messages).event])
        listed = process.unary("List", ListRequest()).processes
        assert [found.config.cmd for found in listed if found.pid == seen.pid] == ["/bin/sh"]

        process.unary("SendInput", SendInputRequest(process=pid(seen.pid), input=ProcessInput(stdin=b"this\n")))
        while b"got this\n" not in seen.stdout:
            seen.events.append(next(messages).event)

        process.unary("SendSignal", SendSignalRequest(process=pid(seen.pid), signal=SIGNAL_SIGKILL))
        seen.events += [message.event for message in messages]
        assert seen.end.status == "signal: killed"


def test_streamed_input_reaches_a_program(process):
    with closing(process.stream("Start", shell("read -r a; read -r b; echo $b $a"))) as messages:
        seen = Outcome([next(messages).event])
        sent = [input_for(pid(seen.pid)), input_data(b"one\n"), input_keepalive(), input_data(b"two\n")]
        process.stream_input(iter(sent))
        seen.events += [message.event for message in messages]
    assert seen.stdout == b"two one\n"


def test_input_reaches_a_program_while_its_stream_is_open(process):
    with closing(process.stream("Start", shell("read -r a; echo got $a; read -r b; echo got $b"))) as events:
        seen = Outcome([next(events).event])

        def conversation() -> Iterator[StreamInputRequest]:
            """The second line is sent once the first was answered, on one stream."""
            yield input_for(pid(seen.pid))
            for line in (b"one\n", b"two\n"):
                yield input_data(line)
                while b"got " + line not in seen.stdout:
                    seen.events.append(next(events).event)

        process.stream_input(conversation())
        seen.events += [message.event for message in events]
    assert seen.stdout == b"got one\ngot two\n"


def test_signalling_what_is_not_there_is_not_found(process):
    with pytest.raises(ConnectError) as raised:
        process.unary("SendSignal", SendSignalRequest(process=pid(NO_PID), signal=SIGNAL_SIGKILL))
    assert raised.value.code is Code.NOT_FOUND
    assert str(NO_PID) in raised.value.message


def test_following_what_is_not_there_is_not_found(process):
    with pytest.raises(ConnectError) as raised:
        next(process.stream("Connect", ConnectRequest(process=pid(NO_PID))))
    assert raised.value.code is Code.NOT_FOUND
    assert str(NO_PID) in raised.value.message


def test_a_deadline_ends_a_follower_and_not_the_program(process):
    with closing(process.stream("Start", shell("read -r line; echo got $line"))) as messages:
        seen = Outcome([next(messages).event])
        with pytest.raises(ConnectError) as raised:
            list(process.stream("Connect", ConnectRequest(process=pid(seen.pid)), timeout_ms=300))
        assert raised.value.code is Code.DEADLINE_EXCEEDED
        process.unary("SendInput", SendInputRequest(process=pid(seen.pid), input=ProcessInput(stdin=b"later\n")))
        seen.events += [message.event for message in messages]
    assert (seen.stdout, seen.end.exit_code) == (b"got later\n", 0)


def test_an_abandoned_stream_leaves_its_program_running(process):
    with closing(process.stream("Start", shell("read -r line; echo got $line"))) as messages:
        number = next(messages).event.start.pid
    process.unary("SendInput", SendInputRequest(process=pid(number), input=ProcessInput(stdin=b"later\n")))
    # By offset: until the client has sent its reset, the program's output goes to the abandoned stream.
    again = ConnectRequest(process=pid(number), resume=OutputPosition(stdout=0, stderr=0))
    replay = Outcome([message.event for message in process.stream("Connect", again)])
    assert (replay.stdout, replay.end.exit_code) == (b"got later\n", 0)


def test_calls_share_a_client(process):
    codes = [process.run(shell(f"exit {code}")).end.exit_code for code in itertools.chain(range(5), range(5))]
    assert codes == [0, 1, 2, 3, 4] * 2


def test_a_conversation_with_a_terminal_goes_both_ways_on_one_stream(process):
    script = "stty -echo; echo ready; read -r a; echo got $a; read -r b; stty size; exit 7"
    opening = Opening(process=ProcessConfig(cmd="/bin/sh", args=["-c", script]), size=PTY.Size(cols=80, rows=24))
    sent: queue.SimpleQueue[OpenRequest | None] = queue.SimpleQueue()
    sent.put(OpenRequest(open=opening))
    shown = b""

    def until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += next(events).event.output.data

    with closing(process.open_terminal(iter(sent.get, None))) as events:
        until(b"ready\r\n")
        sent.put(OpenRequest(input=Input(data=b"one\n")))
        until(b"got one\r\n")
        sent.put(OpenRequest(input=Input(resize=PTY.Size(cols=100, rows=40))))
        sent.put(OpenRequest(input=Input(data=b"two\n")))
        until(b"40 100\r\n")
        sent.put(None)
        *_, last = events
    assert (last.event.exit.exit_code, last.event.exit.exited) == (7, True)
