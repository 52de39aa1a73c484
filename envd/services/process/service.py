"""The Process service: the contract's messages to the domain's terms and back."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from envd.errors import Code, EnvdError
from envd.process import signals
from envd.process.command import check_key
from envd.process.events import BEGINNING, Event
from envd.process.idempotent_input import IdempotentWrite
from envd.process.process import Process, nothing_aside
from envd.process.subscription import Subscription
from envd.process.table import ProcessTable
from envd.rpc import Call, Encoded, Reply, keepalive_from
from envd_proto.process import process_pb2 as pb

from . import list_encoding, messages

_WORDS = {"pid": "pid", "tag": "tag", "idempotency_key": "idempotency key"}


class ProcessService:
    """Serves process.Process."""

    def __init__(self, table: ProcessTable) -> None:
        self._table = table

    async def list(self, request: pb.ListRequest, call: Call) -> Encoded:
        """Return the processes that run, on request also those that have finished."""
        processes = [process for process in self._table if process.ended is None or request.include_finished]
        abridged = list_encoding.abridged_of(processes)
        listed = (
            list_encoding.Listed(process, messages.info_from(process, abridged=process.identity.ident in abridged))
            for process in processes
        )
        return await list_encoding.encoded(pb.ListResponse, listed, abridged, call)

    async def start(self, request: pb.StartRequest, call: Call) -> AsyncIterator[Reply]:
        """Start a process and follow it."""
        command = messages.command_from(request, call.timeout_s)
        resume = request.HasField("resume")
        process, existing = await self._table.start(command, call.username)
        position = messages.position_from(request.resume) if resume and existing else BEGINNING
        # What an earlier call was sent need not have reached anybody, so a repeated one begins where that began. Who
        # gives keys knows GapEvent.
        subscription = process.output.follow(position, gaps=resume or existing, resumes=resume, receipts=call)
        async for event in _follow(process, call, subscription, existing=existing):
            yield messages.reply_from(event, pb.StartResponse, request.event_bytes)

    async def connect(self, request: pb.ConnectRequest, call: Call) -> AsyncIterator[Reply]:
        """Follow a process that is there."""
        if request.process.WhichOneof("selector") == "idempotency_key":
            await self._table.started(request.process.idempotency_key)
        process = select(self._table, request.process)
        resume = request.HasField("resume")
        position = messages.position_from(request.resume) if resume else None
        subscription = process.output.follow(position, gaps=resume or request.gaps, receipts=call)
        async for event in _follow(process, call, subscription, existing=False):
            yield messages.reply_from(event, pb.ConnectResponse, request.event_bytes)

    async def update(self, request: pb.UpdateRequest, _: Call) -> pb.UpdateResponse:
        """Resize a terminal."""
        process = self._select_live(request.process)
        if request.HasField("pty"):
            process.resize(messages.size_from(request.pty.size))
        return pb.UpdateResponse()

    async def send_input(self, request: pb.SendInputRequest, _: Call) -> pb.SendInputResponse:
        """Write to a process's input."""
        key = messages.key_from(request)
        if key is not None:
            check_key(key)
        process = select(self._table, request.process)
        write = None if key is None else await IdempotentWrite.of(key, _input(process, request.input))
        if write is None or not process.input.keyed.has_all(write):
            process = self._select_live(request.process)
            await process.input.write(_input(process, request.input), write)
        return pb.SendInputResponse()

    async def stream_input(self, requests: AsyncIterator[pb.StreamInputRequest], _: Call) -> pb.StreamInputResponse:
        """Write to a process's input piece by piece."""
        process: Process | None = None
        async for request in requests:
            kind = request.WhichOneof("event")
            if kind == "start":
                process = self._select_live(request.start.process)
            elif kind == "data":
                if process is None:
                    raise EnvdError(
                        Code.INVALID_ARGUMENT, "data before start: the first message must name the process to write to"
                    )
                await process.input.write(_input(process, request.data.input))
            elif kind is None:
                raise EnvdError(Code.UNIMPLEMENTED, "invalid event type: set start, data or keepalive")
        return pb.StreamInputResponse()

    async def send_signal(self, request: pb.SendSignalRequest, _: Call) -> pb.SendSignalResponse:
        """Signal a process."""
        process = self._select_live(request.process)
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
        await signals.send(self._table, process, number, request.target)
        return pb.SendSignalResponse()

    async def close_stdin(self, request: pb.CloseStdinRequest, _: Call) -> pb.CloseStdinResponse:
        """Close a process's standard input behind what was written."""
        process = self._select_live(request.process)
        if process.terminal is not None:
            raise EnvdError(
                Code.UNKNOWN,
                "error closing stdin: cannot close stdin for PTY process — send Ctrl+D (0x04) instead",
            )
        await process.input.end()
        return pb.CloseStdinResponse()

    def _select_live(self, selector: pb.ProcessSelector) -> Process:
        process = select(self._table, selector)
        if not process.alive:
            kind = selector.WhichOneof("selector")
            raise EnvdError(
                Code.NOT_FOUND, f"process with {_WORDS[kind]} {getattr(selector, kind)} not found: it has ended"
            )
        return process


def select(table: ProcessTable, selector: pb.ProcessSelector) -> Process:
    """Return the process a selector names.

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


def _input(process: Process, message: pb.ProcessInput) -> bytes:
    return messages.input_from(message, terminal=process.terminal is not None)


async def _follow(
    process: Process, call: Call, subscription: Subscription, *, existing: bool
) -> AsyncGenerator[Event, None]:
    events: AsyncGenerator[Event, None] = process.follow(
        subscription,
        existing=existing,
        keepalive_s=keepalive_from(call.headers),
        aside=nothing_aside,
    )
    async with aclosing(events):
        async for event in events:
            yield event
