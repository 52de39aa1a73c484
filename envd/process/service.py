"""The Process service: the contract's messages to the domain's terms and back."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from envd.errors import Code, EnvdError
from envd.rpc import Call, Encoded, Reply, keepalive_from
from envd_proto.process import process_pb2 as pb

from . import list_encoding, messages, signals
from .command import check_key
from .events import BEGINNING, Event
from .idempotent_input import IdempotentWrite
from .process import Process, nothing_aside
from .subscription import Subscription
from .table import ProcessTable

_WORDS = {"pid": "pid", "tag": "tag", "idempotency_key": "idempotency key"}


class ProcessService:
    """Serves process.Process."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table

    async def list(self, request: pb.ListRequest, call: Call) -> Encoded:
        """Return the programs that run, on request also those that have finished."""
        shown = [running for running in self._table if running.ended is None or request.include_finished]
        abridged = list_encoding.abridged_of(shown)
        found = (
            list_encoding.Listed(running, messages.info_from(running, abridged=running.identity.ident in abridged))
            for running in shown
        )
        return await list_encoding.encoded(pb.ListResponse, found, abridged, call)

    async def start(self, request: pb.StartRequest, call: Call) -> AsyncIterator[Reply]:
        """Start a program and follow it."""
        command = messages.command_from(request, call.timeout_s)
        resume = request.HasField("resume")
        running, existing = await self._table.start(command, call.username)
        position = messages.position_from(request.resume) if resume and existing else BEGINNING
        # What an earlier call was sent need not have reached anybody, so a repeated one begins where that began. Who
        # gives keys knows GapEvent.
        follower = running.output.follow(position, gaps=resume or existing, resumes=resume, receipts=call)
        async for event in _follow(running, call, follower, existing=existing):
            yield messages.reply_from(event, pb.StartResponse, request.event_bytes)

    async def connect(self, request: pb.ConnectRequest, call: Call) -> AsyncIterator[Reply]:
        """Follow a program that is there."""
        if request.process.WhichOneof("selector") == "idempotency_key":
            await self._table.started(request.process.idempotency_key)
        running = select(self._table, request.process)
        resume = request.HasField("resume")
        position = messages.position_from(request.resume) if resume else None
        follower = running.output.follow(position, gaps=resume or request.gaps, receipts=call)
        async for event in _follow(running, call, follower, existing=False):
            yield messages.reply_from(event, pb.ConnectResponse, request.event_bytes)

    async def update(self, request: pb.UpdateRequest, _: Call) -> pb.UpdateResponse:
        """Resize a terminal."""
        running = self._select_live(request.process)
        if request.HasField("pty"):
            running.resize(messages.size_from(request.pty.size))
        return pb.UpdateResponse()

    async def send_input(self, request: pb.SendInputRequest, _: Call) -> pb.SendInputResponse:
        """Write to a program's input."""
        key = messages.key_from(request)
        if key is not None:
            check_key(key)
        running = select(self._table, request.process)
        wanted = None if key is None else await IdempotentWrite.of(key, _input(running, request.input))
        if wanted is None or not running.input.keyed.has_all(wanted):
            running = self._select_live(request.process)
            await running.input.write(_input(running, request.input), wanted)
        return pb.SendInputResponse()

    async def stream_input(self, requests: AsyncIterator[pb.StreamInputRequest], _: Call) -> pb.StreamInputResponse:
        """Write to a program's input piece by piece."""
        running: Process | None = None
        async for request in requests:
            kind = request.WhichOneof("event")
            if kind == "start":
                running = self._select_live(request.start.process)
            elif kind == "data":
                if running is None:
                    raise EnvdError(
                        Code.INVALID_ARGUMENT, "data before start: the first message must name the process to write to"
                    )
                await running.input.write(_input(running, request.data.input))
            elif kind is None:
                raise EnvdError(Code.UNIMPLEMENTED, "invalid event type: set start, data or keepalive")
        return pb.StreamInputResponse()

    async def send_signal(self, request: pb.SendSignalRequest, _: Call) -> pb.SendSignalResponse:
        """Signal a program."""
        running = self._select_live(request.process)
        number = int(request.signal)
        if request.HasField("signal_number"):
            number = request.signal_number
            if number not in signals.NUMBERS:
                raise EnvdError(
                    Code.INVALID_ARGUMENT, f"signal_number must be from 1 to {signals.NUMBERS[-1]}, not {number}"
                )
        elif number not in (int(signal.SIGTERM), int(signal.SIGKILL)):
            raise EnvdError(
                Code.UNIMPLEMENTED,
                f"invalid signal: {number}; set signal_number for other than SIGTERM and SIGKILL",
            )
        await signals.send(self._table, running, number, request.target)
        return pb.SendSignalResponse()

    async def close_stdin(self, request: pb.CloseStdinRequest, _: Call) -> pb.CloseStdinResponse:
        """Close a program's standard input behind what was written."""
        running = self._select_live(request.process)
        if running.terminal is not None:
            raise EnvdError(
                Code.UNKNOWN,
                "error closing stdin: cannot close stdin for PTY process — send Ctrl+D (0x04) instead",
            )
        await running.input.end()
        return pb.CloseStdinResponse()

    def _select_live(self, selector: pb.ProcessSelector) -> Process:
        running = select(self._table, selector)
        if not running.alive:
            kind = selector.WhichOneof("selector")
            raise EnvdError(
                Code.NOT_FOUND, f"process with {_WORDS[kind]} {getattr(selector, kind)} not found: it has ended"
            )
        return running


def select(table: ProcessTable, selector: pb.ProcessSelector) -> Process:
    """Return the program a selector names.

    Raises:
        EnvdError: NOT_FOUND if there is none, UNIMPLEMENTED if it names nothing.
    """
    kind = selector.WhichOneof("selector")
    if kind == "pid":
        return table.by_pid(selector.pid)
    if kind == "tag":
        return table.by_tag(selector.tag)
    if kind == "idempotency_key":
        return table.by_key(selector.idempotency_key)
    raise EnvdError(Code.UNIMPLEMENTED, "no process selected: set pid or tag")


def _input(running: Process, message: pb.ProcessInput) -> bytes:
    return messages.input_from(message, terminal=running.terminal is not None)


async def _follow(
    running: Process, call: Call, follower: Subscription, *, existing: bool
) -> AsyncGenerator[Event, None]:
    events: AsyncGenerator[Event, None] = running.follow(
        follower,
        existing=existing,
        keepalive_s=keepalive_from(call.headers),
        aside=nothing_aside,
    )
    async with aclosing(events):
        async for event in events:
            yield event
