"""The terminal service as typed streams: one call each, over which both sides speak at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import grpc.aio
from google.protobuf.message import Message

from envd_proto.process.process_pb2 import PTY, SIGNAL_SIGKILL, ProcessEvent, StartRequest
from envd_proto.pty.pty_pb2 import (
    Attachment,
    AttachRequest,
    AttachResponse,
    Event,
    Input,
    ListRequest,
    ListResponse,
    Opening,
    OpenRequest,
    OpenResponse,
    Signal,
    TerminalInfo,
)
from tests.support.connect import Client, ConnectError, frame
from tests.support.http1 import chunk, connection
from tests.support.process import Processes, pid

OPEN = "pty.Pty/Open"
ATTACH = "pty.Pty/Attach"
LIST = "pty.Pty/List"


def size(cols: int, rows: int) -> PTY.Size:
    return PTY.Size(cols=cols, rows=rows)


def opening(request: StartRequest, **options: object) -> Opening:
    """What Open is to do: the program of a StartRequest, and fields of Opening."""
    return Opening(process=request.process, **options)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Line:
    """Both directions of one call."""

    say: Callable[[Message], Awaitable[object]]
    end_input: Callable[[], Awaitable[object]]
    messages: AsyncIterator[Any]


class Wire(Protocol):
    """Makes calls that carry both directions at once."""

    def call(
        self, method: str, response: type[Message], *, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Line]:
        """A call of which nothing was sent; leaving the block ends it."""


@dataclass(frozen=True, slots=True)
class ConnectWire:
    """Connect over HTTP/1.1: the request's body goes on while the response is read."""

    client: Client

    @asynccontextmanager
    async def call(
        self, method: str, response: type[Message], *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Line]:
        async with connection(self.client.port) as conn:
            head = self.client.request(method, None, streaming=True, headers=headers, chunks=[])
            await conn.send(head.removesuffix(b"0\r\n\r\n"))

            async def say(message: Message) -> None:
                await conn.send(chunk(frame(self.client.codec.encode(message))))

            async def answers() -> AsyncGenerator[Message]:
                async with self.client.response_on(conn) as stream, aclosing(stream.messages(response)) as messages:
                    async for message in messages:
                        yield message

            async with aclosing(answers()) as messages:
                yield Line(say, lambda: conn.send(b"0\r\n\r\n"), messages)


@dataclass(frozen=True, slots=True)
class GrpcWire:
    """Native gRPC, by grpcio's own client."""

    port: int

    @asynccontextmanager
    async def call(
        self, method: str, response: type[Message], *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Line]:
        given = dict(headers or {})
        timeout_ms = given.pop("Connect-Timeout-Ms", None)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            make = channel.stream_stream(
                f"/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            call = make(
                metadata=tuple((name.lower(), value) for name, value in given.items()),
                timeout=None if timeout_ms is None else int(timeout_ms) / 1000,
            )
            try:
                async with aclosing(_grpc_answers(call)) as messages:
                    yield Line(lambda message: _unless_over(call.write(message)), call.done_writing, messages)
            finally:
                call.cancel()


async def _unless_over(writing: Awaitable[None]) -> None:
    """What is written behind the end of a call is lost, as on any other wire."""
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await writing


async def _grpc_answers(call: Any) -> AsyncGenerator[Any]:
    """Every message; then returns after a good status or raises what another one means."""
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            yield message
        status, details = await call.code(), await call.details()
    except grpc.aio.AioRpcError as error:
        status, details = error.code(), error.details()
    # The second is what the library's own core says of a connection that breaks while it writes.
    if status is grpc.StatusCode.UNAVAILABLE or details == "Internal error from Core":
        raise EOFError(details)
    if status is not grpc.StatusCode.OK:
        raise ConnectError(status.name.lower(), details, 0)


class Screen:
    """One stream of a terminal's events; what was read of it stays here."""

    def __init__(self, line: Line, request: type[OpenRequest | AttachRequest]) -> None:
        self._line = line
        self._request = request
        self.events: list[Event] = []
        self.output = bytearray()
        # Where the first byte of `output` lies in what the terminal printed.
        self.begin = 0

    @property
    def start(self) -> Event.StartEvent:
        return self.events[0].start

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("event")) for event in self.events]

    @property
    def exit(self) -> ProcessEvent.EndEvent:
        assert self.events[-1].HasField("exit"), self.kinds
        return self.events[-1].exit

    async def next(self) -> Event:
        """The next event; StopAsyncIteration after a good end of the stream, ConnectError after a bad one."""
        event: Event = (await anext(self._line.messages)).event
        self.events.append(event)
        if event.HasField("start"):
            self.begin = event.start.offset
        elif event.HasField("gap"):
            assert event.gap.begin == self.begin + len(self.output)
            self.begin += event.gap.end - event.gap.begin
        elif event.HasField("output"):
            assert event.output.offset == self.begin + len(self.output), "bytes are missing or came twice"
            self.output += event.output.data
        return event

    async def until(self, output: bytes) -> None:
        """Read until the terminal has shown that."""
        while output not in self.output:
            event = await self.next()
            assert not event.HasField("exit"), f"ended without showing {output!r}: {bytes(self.output[-300:])!r}"

    async def until_event(self, kind: str) -> Event:
        """Read until there is an event of a kind."""
        while not (event := await self.next()).HasField(kind):  # type: ignore[arg-type]
            assert not event.HasField("exit"), f"ended without {kind}"
        return event

    async def rest(self) -> ProcessEvent.EndEvent:
        """Read to the end of the stream."""
        with suppress(StopAsyncIteration):
            while True:
                await self.next()
        return self.exit

    # Input.

    async def _input(self, message: Input) -> None:
        await self._line.say(self._request(input=message))

    async def type(self, data: bytes) -> None:
        await self._input(Input(data=data))

    async def resize(self, cols: int, rows: int) -> None:
        await self._input(Input(resize=size(cols, rows)))

    async def signal(self, number: int, target: int = 0) -> None:
        await self._input(Input(signal=Signal(number=number, target=target)))  # type: ignore[arg-type]

    async def keepalive(self) -> None:
        await self._input(Input(keepalive=Input.KeepAlive()))

    async def end_input(self) -> None:
        """End the request's side of the stream."""
        await self._line.end_input()


@dataclass(frozen=True, slots=True)
class Terminals:
    """The terminal service of one daemon; `client` makes the calls that are not streams."""

    client: Client
    wire: Wire

    @asynccontextmanager
    async def open(self, what: Opening, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Screen]:
        """Open a terminal and read its start event; on the way out its program is killed if it was not seen to end."""
        async with self._stream(OPEN, OpenRequest(open=what), OpenResponse, headers) as screen:
            try:
                yield screen
            finally:
                if "exit" not in screen.kinds:
                    with suppress(ConnectError, OSError, EOFError):
                        await Processes(self.client).signal(pid(screen.start.pid), SIGNAL_SIGKILL)

    @asynccontextmanager
    async def attach(self, what: Attachment, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Screen]:
        """Look at a terminal that is there, its start event read."""
        async with self._stream(ATTACH, AttachRequest(attach=what), AttachResponse, headers) as screen:
            yield screen

    @asynccontextmanager
    async def _stream(
        self,
        method: str,
        first: OpenRequest | AttachRequest,
        response: type[OpenResponse | AttachResponse],
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[Screen]:
        async with self.wire.call(method, response, headers=headers) as line:
            screen = Screen(line, type(first))
            await line.say(first)
            await screen.next()
            yield screen

    async def refused(self, method: str, *messages: Message) -> ConnectError:
        """Send a whole request; the error that answers it."""
        async with self.wire.call(method, OpenResponse) as line:
            for message in messages:
                await line.say(message)
            await line.end_input()
            try:
                async for _ in line.messages:
                    pass
            except ConnectError as error:
                return error
        raise AssertionError("the call succeeded")

    async def list(self, *, include_finished: bool = False) -> dict[str, TerminalInfo]:
        """The terminals by their ids."""
        answer = await self.client.unary(LIST, ListRequest(include_finished=include_finished), ListResponse)
        return {info.id: info for info in answer.terminals}
