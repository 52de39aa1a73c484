"""Clients that watch directories over any wire, as streams and by polling."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from envd_proto.filesystem.filesystem_pb2 import (
    CreateWatcherRequest,
    CreateWatcherResponse,
    EventType,
    FilesystemEvent,
    GetWatcherEventsRequest,
    GetWatcherEventsResponse,
    RemoveWatcherRequest,
    RemoveWatcherResponse,
    WatchDirRequest,
    WatchDirResponse,
)
from tests.support.filesystem import SERVICE
from tests.support.wires import Incoming, RpcError, Wire

DEADLINE_S = 60.0
_numbers = itertools.count()


def said(event: FilesystemEvent) -> str:
    """An event in one word: "create a/b"."""
    return f"{EventType.Name(event.type).removeprefix('EVENT_TYPE_').lower()} {event.name}"


def without_repeats(events: list[str]) -> list[str]:
    """Events without those that only repeat the one before, which the kernel may merge or not."""
    return [event for event, _ in itertools.groupby(events)]


@dataclass(slots=True)
class Stream:
    """A WatchDir that has started. `messages` is all that came after the start, `cursor` where it is."""

    root: Path
    incoming: Incoming[WatchDirResponse]
    cursor: str = ""
    messages: list[WatchDirResponse] = field(default_factory=list)

    async def next(self) -> WatchDirResponse:
        async with asyncio.timeout(DEADLINE_S):
            message = await anext(self.incoming)
        self.messages.append(message)
        self.cursor = message.filesystem.cursor or message.overflow.cursor or self.cursor
        return message

    async def events(self) -> list[FilesystemEvent]:
        """What has happened by now, since the last call."""
        marker = self.root / f"marker-{next(_numbers)}"
        marker.touch()
        events: list[FilesystemEvent] = []
        while True:
            message = await self.next()
            if message.filesystem.name == marker.name:
                marker.unlink()
                return [event for event in events if not event.name.startswith("marker-")]
            if message.HasField("filesystem"):
                events.append(message.filesystem)

    async def said(self) -> list[str]:
        return without_repeats([said(event) for event in await self.events()])

    async def said_until(self, *expected: str) -> list[str]:
        """What is said, up to when all of these were."""
        lines: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while not set(expected) <= set(lines):
                lines.append(said((await self.next()).filesystem))
        return lines

    async def to_the_end(self) -> tuple[list[str], RpcError]:
        """What comes until the stream fails, and the error."""
        events: list[str] = []
        try:
            while True:
                events.append(said((await self.next()).filesystem))
        except RpcError as error:
            return events, error

    @property
    def overflows(self) -> list[WatchDirResponse.OverflowEvent]:
        return [message.overflow for message in self.messages if message.HasField("overflow")]


class Watching:
    """Calls of filesystem.Filesystem that watch; options are fields of the requests."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @asynccontextmanager
    async def stream(
        self, path: object, *, receive_buffer_bytes: int | None = None, **options: object
    ) -> AsyncIterator[Stream]:
        request = WatchDirRequest(path=str(path), **options)  # type: ignore[arg-type]
        async with self.wire.server_stream(
            f"{SERVICE}/WatchDir", request, WatchDirResponse, receive_buffer_bytes=receive_buffer_bytes
        ) as incoming:
            async with asyncio.timeout(DEADLINE_S):
                first = await anext(incoming)
            assert first.HasField("start"), first
            yield Stream(Path(str(path)), incoming, first.start.cursor)

    async def create(self, path: object, **options: object) -> Watcher:
        request = CreateWatcherRequest(path=str(path), **options)  # type: ignore[arg-type]
        made = await self.wire.unary(f"{SERVICE}/CreateWatcher", request, CreateWatcherResponse)
        return Watcher(self.wire, made.watcher_id, Path(str(path)))


@dataclass(slots=True)
class Watcher:
    """A watcher that is polled."""

    wire: Wire
    ident: str
    root: Path
    overflowed: bool = False

    async def poll(self, cursor: str | None = None) -> GetWatcherEventsResponse:
        request = GetWatcherEventsRequest(watcher_id=self.ident, cursor=cursor)
        response = await self.wire.unary(f"{SERVICE}/GetWatcherEvents", request, GetWatcherEventsResponse)
        self.overflowed |= response.overflowed
        return response

    async def events(self) -> list[FilesystemEvent]:
        """What has happened by now, since the last call."""
        marker = self.root / f"marker-{next(_numbers)}"
        marker.touch()
        events: list[FilesystemEvent] = []
        async with asyncio.timeout(DEADLINE_S):
            while not any(event.name == marker.name for event in events):
                events += (await self.poll()).events
        marker.unlink()
        return [event for event in events if not event.name.startswith("marker-")]

    async def said(self) -> list[str]:
        return without_repeats([said(event) for event in await self.events()])

    async def to_the_end(self) -> tuple[list[str], RpcError]:
        """What it hands out until it fails, and the error."""
        events: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while True:
                try:
                    events += [said(event) for event in (await self.poll()).events]
                except RpcError as error:
                    return events, error
                await asyncio.sleep(0.02)  # a client's pace

    async def remove(self) -> None:
        request = RemoveWatcherRequest(watcher_id=self.ident)
        await self.wire.unary(f"{SERVICE}/RemoveWatcher", request, RemoveWatcherResponse)
