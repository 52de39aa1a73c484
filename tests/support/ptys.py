"""The terminal service as typed streams: one connection each, over which both sides speak at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

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
from tests.support.connect import Client, ConnectError, Stream, frame
from tests.support.http1 import Connection, chunk, connection
from tests.support.process import Processes, pid

OPEN = "pty.Pty/Open"
ATTACH = "pty.Pty/Attach"
LIST = "pty.Pty/List"


def size(cols: int, rows: int) -> PTY.Size:
    return PTY.Size(cols=cols, rows=rows)


def opening(request: StartRequest, **options: object) -> Opening:
    """What Open is to do: the program of a StartRequest, and fields of Opening."""
    return Opening(process=request.process, **options)  # type: ignore[arg-type]


class Screen:
    """One stream of a terminal's events; what was read of it stays here."""

    def __init__(self, conn: Connection, client: Client, request: type[OpenRequest | AttachRequest]) -> None:
        self._connection = conn
        self._client = client
        self._request = request
        self._messages: AsyncIterator[OpenResponse | AttachResponse] | None = None
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

    def listen(self, messages: AsyncIterator[OpenResponse | AttachResponse]) -> None:
        self._messages = messages

    async def next(self) -> Event:
        """The next event; StopAsyncIteration after a good end of the stream, ConnectError after a bad one."""
        assert self._messages is not None
        event = (await anext(self._messages)).event
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

    async def say(self, message: Message) -> None:
        await self._connection.send(chunk(frame(self._client.codec.encode(message))))

    async def _input(self, message: Input) -> None:
        await self.say(self._request(input=message))

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
        await self._connection.send(b"0\r\n\r\n")


@dataclass(frozen=True, slots=True)
class Terminals:
    """The terminal service of one daemon."""

    client: Client
    opened: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def open(
        self, what: Opening, *, headers: Mapping[str, str] | None = None, receive_buffer_bytes: int | None = None
    ) -> AsyncIterator[Screen]:
        """Open a terminal and read its start event; on the way out its program is killed if it was not seen to end."""
        first = OpenRequest(open=what)
        async with self._stream(OPEN, first, OpenResponse, headers, receive_buffer_bytes) as screen:
            try:
                yield screen
            finally:
                if "exit" not in screen.kinds:
                    with suppress(ConnectError, OSError, EOFError):
                        await Processes(self.client).signal(pid(screen.start.pid), SIGNAL_SIGKILL)

    @asynccontextmanager
    async def attach(
        self, what: Attachment, *, headers: Mapping[str, str] | None = None, receive_buffer_bytes: int | None = None
    ) -> AsyncIterator[Screen]:
        """Look at a terminal that is there, its start event read."""
        first = AttachRequest(attach=what)
        async with self._stream(ATTACH, first, AttachResponse, headers, receive_buffer_bytes) as screen:
            yield screen

    @asynccontextmanager
    async def _stream(
        self,
        method: str,
        first: OpenRequest | AttachRequest,
        response: type[OpenResponse | AttachResponse],
        headers: Mapping[str, str] | None,
        receive_buffer_bytes: int | None,
    ) -> AsyncIterator[Screen]:
        async with self.raw(method, headers=headers, receive_buffer_bytes=receive_buffer_bytes) as conn:
            screen = Screen(conn, self.client, type(first))
            await screen.say(first)
            async with self.client.response_on(conn) as stream, aclosing(stream.messages(response)) as messages:
                screen.listen(messages)
                await screen.next()
                yield screen

    @asynccontextmanager
    async def raw(
        self, method: str, *, headers: Mapping[str, str] | None = None, receive_buffer_bytes: int | None = None
    ) -> AsyncIterator[Connection]:
        """A call whose request has begun, and of whose body nothing was sent."""
        async with connection(self.client.port, receive_buffer_bytes=receive_buffer_bytes) as conn:
            head = self.client.request(method, None, streaming=True, headers=headers, chunks=[])
            await conn.send(head.removesuffix(b"0\r\n\r\n"))
            yield conn

    async def refused(self, method: str, *messages: Message) -> ConnectError:
        """Send a whole request; the error that answers it."""
        async with self.raw(method) as conn:
            for message in messages:
                await conn.send(chunk(frame(self.client.codec.encode(message))))
            await conn.send(b"0\r\n\r\n")
            async with self.client.response_on(conn) as stream:
                return await _error(stream)

    async def list(self, *, include_finished: bool = False) -> dict[str, TerminalInfo]:
        """The terminals by their ids."""
        answer = await self.client.unary(LIST, ListRequest(include_finished=include_finished), ListResponse)
        return {info.id: info for info in answer.terminals}


async def _error(stream: Stream) -> ConnectError:
    try:
        async for _ in stream.messages(OpenResponse):
            pass
    except ConnectError as error:
        return error
    raise AssertionError("the call succeeded")
