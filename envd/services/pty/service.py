"""The Pty service: the contract's messages to the domain's terms and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol, TypeVar

from envd.errors import Code, EnvdError
from envd.process import signals
from envd.process.events import BEGINNING, PTY, Position
from envd.process.process import Process
from envd.process.table import Jobs, ProcessTable
from envd.pty.keys import Keys
from envd.pty.terminal import Terminals, TerminalSubscriber, id_of
from envd.rpc import Call, Encoded, Reply, keepalive_from
from envd.services.process import list_encoding
from envd.services.process.messages import info_from, size_from
from envd.services.process.service import select
from envd_proto.pty import pty_pb2 as pb

from . import messages


class PtyService:
    """Serves pty.Pty.

    Args:
        jobs: runs what takes a stream's input beside its output.
    """

    def __init__(self, table: ProcessTable, jobs: Jobs) -> None:
        self._table = table
        self._jobs = jobs
        self._terminals = Terminals()

    async def list(self, request: pb.ListRequest, call: Call) -> Encoded:
        """Return the terminals that are open, on request also those that have finished."""
        processes = [
            process
            for process in self._table
            if process.terminal is not None and (process.ended is None or request.include_finished)
        ]
        abridged = list_encoding.abridged_of(processes)
        listed = (
            list_encoding.Listed(
                process,
                info_from(process, abridged=process.identity.ident in abridged),
                (messages.info_from(process, self._terminals.watched(process)), pb.TerminalInfo.PROCESS_FIELD_NUMBER),
            )
            for process in processes
        )
        return await list_encoding.encoded(pb.ListResponse, listed, abridged, call)

    async def open(self, requests: AsyncIterator[pb.OpenRequest], call: Call) -> AsyncGenerator[Reply, None]:
        """Open a terminal and follow it."""
        first = await _first(requests, "open")
        opening = first.open
        command = messages.command_from(opening, call.timeout_s)
        username = opening.user if opening.HasField("user") else call.username
        process, existing = await self._table.start(command, username)
        begin = messages.begin_of_opening(opening, process.output) if existing else BEGINNING
        with self._terminals.view(
            process, size=messages.size_of_opening(opening), drives=not existing, view_only=False
        ) as viewer:
            replies = self._follow(viewer, requests, call, begin, pb.OpenResponse, existing=existing)
            async with aclosing(replies):
                async for reply in replies:
                    yield reply

    async def attach(self, requests: AsyncIterator[pb.AttachRequest], call: Call) -> AsyncGenerator[Reply, None]:
        """Follow a terminal that is there."""
        first = await _first(requests, "attach")
        attachment = first.attach
        process = self._find(attachment)
        begin = messages.begin_of_attachment(attachment, process.output)
        with self._terminals.view(
            process, size=messages.size_of_attachment(attachment), drives=False, view_only=attachment.view_only
        ) as viewer:
            replies = self._follow(viewer, requests, call, begin, pb.AttachResponse, existing=False)
            async with aclosing(replies):
                async for reply in replies:
                    yield reply

    def _find(self, attachment: pb.Attachment) -> Process:
        kind = attachment.WhichOneof("terminal")
        if kind == "id":
            for process in self._table:
                if process.terminal is not None and id_of(process) == attachment.id:
                    return process
            raise EnvdError(Code.NOT_FOUND, f"terminal {attachment.id} not found")
        if kind is None:
            raise EnvdError(Code.INVALID_ARGUMENT, "no terminal selected: set id or process in attach")
        process = select(self._table, attachment.process)
        if process.terminal is None:
            raise EnvdError(Code.NOT_FOUND, f"process {process.pid} has no terminal: it was started with pipes")
        return process

    async def _follow(
        self,
        viewer: TerminalSubscriber,
        requests: AsyncIterator[_Request],
        call: Call,
        begin: Position,
        kind: type[pb.OpenResponse | pb.AttachResponse],
        *,
        existing: bool,
    ) -> AsyncGenerator[Reply, None]:
        process = viewer.terminal.process
        subscription = process.output.follow(begin, gaps=True, receipts=call)
        live_offset = process.output.ends[PTY]
        events = process.follow(
            subscription, existing=existing, keepalive_s=keepalive_from(call.headers), aside=viewer.news
        )
        async with self._taking_input(viewer, requests), aclosing(events):
            async for event in events:
                yield messages.reply_from(event, kind, viewer, live_offset)

    @asynccontextmanager
    async def _taking_input(self, viewer: TerminalSubscriber, requests: AsyncIterator[_Request]) -> AsyncIterator[None]:
        """Do what the client sends, until the way out; an error in it ends the stream."""
        keys = Keys(viewer.terminal.process.input.write)
        jobs = [
            self._jobs.spawn(_failing(viewer, keys.run()), name="typing"),
            self._jobs.spawn(_failing(viewer, self._obey_all(viewer, keys, requests)), name="terminal input"),
        ]
        try:
            yield
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs)

    async def _obey_all(self, viewer: TerminalSubscriber, keys: Keys, requests: AsyncIterator[_Request]) -> None:
        async for request in requests:
            if request.WhichOneof("message") != "input":
                raise EnvdError(Code.INVALID_ARGUMENT, "after the first message of the stream there can only be input")
            await self._obey(viewer, keys, request.input)

    async def _obey(self, viewer: TerminalSubscriber, keys: Keys, message: pb.Input) -> None:
        kind = message.WhichOneof("input")
        if kind == "keepalive":
            return
        viewer.check_may_act()
        if kind == "data":
            viewer.terminal.drive(viewer)
            await keys.put(message.data)
        elif kind == "resize":
            viewer.resize(size_from(message.resize))
        elif kind == "signal":
            number = message.signal.number
            if number not in signals.NUMBERS:
                raise EnvdError(
                    Code.INVALID_ARGUMENT, f"a signal's number must be from 1 to {signals.NUMBERS[-1]}, not {number}"
                )
            await signals.send(self._table, viewer.terminal.process, number, message.signal.target)
        else:
            raise EnvdError(Code.INVALID_ARGUMENT, "empty input: set data, resize, signal or keepalive")


class _Request(Protocol):
    """The common part of both requests."""

    @property
    def input(self) -> pb.Input:
        """The action."""

    def WhichOneof(self, oneof_group: Any, /) -> Any:  # noqa: N802 - protobuf's name
        """Return which field is set."""


_RequestT = TypeVar("_RequestT", bound=_Request)


async def _first(requests: AsyncIterator[_RequestT], name: str) -> _RequestT:
    async for request in requests:
        if request.WhichOneof("message") == name:
            return request
        break
    raise EnvdError(Code.INVALID_ARGUMENT, f"the first message of the stream must be '{name}'")


async def _failing(viewer: TerminalSubscriber, job: Coroutine[Any, Any, None]) -> None:
    try:
        await job
    except EnvdError as exc:
        viewer.fail(exc)
