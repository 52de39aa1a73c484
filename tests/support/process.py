"""The process service as typed calls over any wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    SIGNAL_UNSPECIFIED,
    CloseStdinRequest,
    CloseStdinResponse,
    ConnectRequest,
    ConnectResponse,
    ListRequest,
    ListResponse,
    OutputPosition,
    ProcessConfig,
    ProcessEvent,
    ProcessInfo,
    ProcessInput,
    ProcessSelector,
    SendInputRequest,
    SendInputResponse,
    SendSignalRequest,
    SendSignalResponse,
    StartRequest,
    StartResponse,
    StreamInputRequest,
    StreamInputResponse,
    UpdateRequest,
    UpdateResponse,
)
from tests.support.connect import Client, Codec, Stream
from tests.support.frames import Received
from tests.support.wires import Incoming, Outgoing, RpcError, Wire, basic

LIST = "process.Process/List"
CONNECT = "process.Process/Connect"
START = "process.Process/Start"
UPDATE = "process.Process/Update"
STREAM_INPUT = "process.Process/StreamInput"
SEND_INPUT = "process.Process/SendInput"
SEND_SIGNAL = "process.Process/SendSignal"
CLOSE_STDIN = "process.Process/CloseStdin"

# A pid that no process can have (the kernel's limit is 2**22).
NO_PID = 2**22 + 1


def pid(number: int) -> ProcessSelector:
    return ProcessSelector(pid=number)


def tag(name: str) -> ProcessSelector:
    return ProcessSelector(tag=name)


def start_request(
    cmd: str,
    *args: str,
    envs: Mapping[str, str] | None = None,
    cwd: str | None = None,
    tag: str | None = None,
    stdin: bool | None = None,
) -> StartRequest:
    """A StartRequest; what is not given stays absent."""
    config = ProcessConfig(cmd=cmd, args=args, envs=envs, cwd=cwd)
    return StartRequest(process=config, tag=tag, stdin=stdin)


def shell(script: str, **options: object) -> StartRequest:
    """A StartRequest for `/bin/sh -c`; options as for `start_request`."""
    return start_request("/bin/sh", "-c", script, **options)  # type: ignore[arg-type]


@dataclass(slots=True)
class Outcome:
    """What a stream of events said."""

    events: list[ProcessEvent] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("event")) for event in self.events]

    @property
    def pid(self) -> int:
        return self.events[0].start.pid

    @property
    def data(self) -> list[ProcessEvent.DataEvent]:
        return [event.data for event in self.events if event.HasField("data")]

    @property
    def stdout(self) -> bytes:
        return b"".join(data.stdout for data in self.data)

    @property
    def stderr(self) -> bytes:
        return b"".join(data.stderr for data in self.data)

    @property
    def end(self) -> ProcessEvent.EndEvent:
        assert self.events[-1].HasField("end"), self.kinds
        return self.events[-1].end


class Follower:
    """One stream of a program's events; what was read of it is in `seen`."""

    def __init__(self, incoming: Incoming[StartResponse | ConnectResponse]) -> None:
        self._incoming = incoming
        self.seen = Outcome()

    @property
    def stream(self) -> Stream:
        """The response as Connect has it, for tests about that wire."""
        assert isinstance(self._incoming, Received)
        assert isinstance(self._incoming.raw, Stream)
        return self._incoming.raw

    @property
    def pid(self) -> int:
        return self.seen.pid

    async def next(self) -> ProcessEvent:
        """The next event; StopAsyncIteration after a good end of the stream, RpcError after a bad one."""
        event = (await anext(self._incoming)).event
        self.seen.events.append(event)
        return event

    async def until(self, output: bytes) -> None:
        """Read until that has been printed, to either stream."""
        while output not in self.seen.stdout and output not in self.seen.stderr:
            event = await self.next()
            assert not event.HasField("end"), f"ended without printing {output!r}: {self.seen.events}"

    async def line(self) -> str:
        """Read until the first whole line of standard output, and return it."""
        await self.until(b"\n")
        return self.seen.stdout.split(b"\n")[0].decode()

    async def rest(self) -> Outcome:
        """Read to the end of the stream."""
        with suppress(StopAsyncIteration):
            while True:
                await self.next()
        return self.seen

    def leave(self) -> None:
        """Go away in the middle, as a client that crashes."""
        self._incoming.leave()


@dataclass(frozen=True, slots=True)
class Processes:
    """The process service of one daemon."""

    wire: Wire

    @classmethod
    def on(cls, port: int, codec: Codec, *, user: str | None = None) -> Processes:
        """Over Connect."""
        return cls(Client(port, codec, {} if user is None else basic(user)))

    @property
    def client(self) -> Client:
        """The wire as Connect, for tests about that wire."""
        assert isinstance(self.wire, Client)
        return self.wire

    def as_user(self, name: str) -> Processes:
        """The same for a client that names a user."""
        return Processes(self.wire.with_headers(basic(name)))

    @asynccontextmanager
    async def start(
        self,
        request: StartRequest,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AsyncIterator[Follower]:
        """Start a program and read its start event; on the way out it is killed if it was not seen to end."""
        call = self.wire.server_stream(
            START,
            request,
            StartResponse,
            headers=headers,
            timeout_s=timeout_s,
            receive_buffer_bytes=receive_buffer_bytes,
        )
        async with call as incoming:
            follower = Follower(incoming)
            await follower.next()
            try:
                yield follower
            finally:
                if "end" not in follower.seen.kinds:
                    await self._kill(follower.pid)

    @asynccontextmanager
    async def connect(
        self,
        selector: ProcessSelector,
        *,
        resume: OutputPosition | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        event_bytes: int = 0,
    ) -> AsyncIterator[Follower]:
        """Follow a program that was started before, its start event read."""
        request = ConnectRequest(process=selector, resume=resume, event_bytes=event_bytes)
        call = self.wire.server_stream(CONNECT, request, ConnectResponse, headers=headers, timeout_s=timeout_s)
        async with call as incoming:
            follower = Follower(incoming)
            await follower.next()
            yield follower

    async def run(
        self, request: StartRequest, *, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
    ) -> Outcome:
        """Start a program and follow it to its end."""
        async with self.start(request, headers=headers, timeout_s=timeout_s) as follower:
            return await follower.rest()

    async def replay(self, selector: ProcessSelector, *, resume: OutputPosition | None = None) -> Outcome:
        """Connect to a program and follow it to its end."""
        async with self.connect(selector, resume=resume) as follower:
            return await follower.rest()

    async def list(self, *, include_finished: bool = False) -> list[ProcessInfo]:
        request = ListRequest(include_finished=include_finished)
        return list((await self.wire.unary(LIST, request, ListResponse)).processes)

    async def pids(self) -> set[int]:
        return {info.pid for info in await self.list()}

    async def send_input(
        self, selector: ProcessSelector, stdin: bytes, *, key: str | None = None, timeout_s: float | None = None
    ) -> None:
        request = SendInputRequest(process=selector, input=ProcessInput(stdin=stdin), idempotency_key=key)
        await self.wire.unary(SEND_INPUT, request, SendInputResponse, timeout_s=timeout_s)

    async def close_stdin(self, selector: ProcessSelector) -> None:
        await self.wire.unary(CLOSE_STDIN, CloseStdinRequest(process=selector), CloseStdinResponse)

    async def signal(
        self,
        selector: ProcessSelector,
        signal: int = SIGNAL_UNSPECIFIED,
        *,
        number: int | None = None,
        target: int = 0,
    ) -> None:
        """SendSignal by E2B's enum or by any number."""
        request = SendSignalRequest(process=selector, signal=signal, signal_number=number, target=target)  # type: ignore[arg-type]
        await self.wire.unary(SEND_SIGNAL, request, SendSignalResponse)

    async def update(self, request: UpdateRequest) -> None:
        await self.wire.unary(UPDATE, request, UpdateResponse)

    async def stream_input(self, messages: Outgoing, *, timeout_s: float | None = None) -> StreamInputResponse:
        """Send a whole input stream as its messages come; RpcError if that is the answer."""
        return await self.wire.client_stream(STREAM_INPUT, messages, StreamInputResponse, timeout_s=timeout_s)

    async def _kill(self, number: int) -> None:
        # The program may have ended, and the daemon may have been what the test killed.
        with suppress(RpcError, OSError, EOFError):
            await self.signal(pid(number), SIGNAL_SIGKILL)


def input_for(selector: ProcessSelector) -> StreamInputRequest:
    """The message that says whom the following data is for."""
    return StreamInputRequest(start=StreamInputRequest.StartEvent(process=selector))


def input_data(stdin: bytes) -> StreamInputRequest:
    return StreamInputRequest(data=StreamInputRequest.DataEvent(input=ProcessInput(stdin=stdin)))


def input_keepalive() -> StreamInputRequest:
    return StreamInputRequest(keepalive=StreamInputRequest.KeepAlive())
