"""The RPCs of the Filesystem service that watch directories."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from functools import partial

from envd.filesystem.access import as_user
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.threads import Threads
from envd.filesystem.watching.watch import Watch, WatchKeepAlive
from envd.filesystem.watching.watch_root import WatchRoot, find_top
from envd.filesystem.watching.watches import Watches
from envd.rpc import Call, Encoded, Reply, keepalive_from
from envd.services.filesystem.messages import caller_from, path_of
from envd_proto.filesystem import filesystem_pb2 as pb

from .messages import ResponseFormat, cursor_of, place_from

# Events that are encoded at a time, about 1 ms of work.
_AT_ONCE = 512
_WITH_ENTRIES = 64


class WatchingService:
    """Serves the RPCs of filesystem.Filesystem that watch.

    Args:
        threads: where entries are looked at.
    """

    def __init__(self, callers: Callers, watches: Watches, threads: Threads) -> None:
        self._callers = callers
        self._watches = watches
        self._threads = threads

    async def watch_dir(self, request: pb.WatchDirRequest, call: Call) -> AsyncIterator[Reply]:
        """Send changes as they happen."""
        caller, entry_format = caller_from(call, self._callers)
        top = await self._top(request, caller)
        cursors = request.HasField("cursor")
        async with self._watch(top, request.cursor if cursors else None) as watch:
            style = ResponseFormat(watch, entry_format, entries=request.include_entry, cursors=cursors)
            start = pb.WatchDirResponse.StartEvent(cursor=cursor_of(watch, watch.history.taken) if cursors else "")
            yield pb.WatchDirResponse(start=start)
            async with aclosing(self._told(watch, style, caller, keepalive_from(call.headers))) as replies:
                async for reply in replies:
                    yield reply

    async def create_watcher(self, request: pb.CreateWatcherRequest, call: Call) -> pb.CreateWatcherResponse:
        """Begin to collect changes."""
        top = await self._top(request, caller_from(call, self._callers)[0])
        watch = await self._watches.create(top, entries=request.include_entry)
        return pb.CreateWatcherResponse(watcher_id=watch.card.ident)

    async def get_watcher_events(self, request: pb.GetWatcherEventsRequest, call: Call) -> Encoded:
        """Hand out what was collected."""
        caller, entry_format = caller_from(call, self._callers)
        watch = self._watches.find(request.watcher_id)
        cursors = request.HasField("cursor")
        after = None
        if cursors:
            after = place_from(request.cursor)[1] if request.cursor else 0
        events = await self._watches.poll(watch, after)
        style = ResponseFormat(watch, entry_format, entries=watch.card.entries, cursors=cursors)
        style.check(events)
        if style.entries:
            answer = as_user(caller.user, partial(style.answer_with_entries, events))
            return await self._threads.at(watch.card.top.path).run(answer)
        return await style.answer(events, self._watches.turns)

    async def remove_watcher(self, request: pb.RemoveWatcherRequest, call: Call) -> pb.RemoveWatcherResponse:
        """End a watcher."""
        caller_from(call, self._callers)
        self._watches.remove(request.watcher_id)
        return pb.RemoveWatcherResponse()

    async def _top(self, request: pb.WatchDirRequest | pb.CreateWatcherRequest, caller: Caller) -> WatchRoot:
        find = partial(find_top, recursive=request.recursive, network=request.allow_network_mounts)
        path = await path_of(request, caller, self._threads)
        return await self._threads.at(path).run(as_user(caller.user, partial(find, path, caller.user)))

    @asynccontextmanager
    async def _watch(self, top: WatchRoot, cursor: str | None) -> AsyncIterator[Watch]:
        """Begin a stream's watch, or go on with it."""
        watches = self._watches
        if cursor is None:
            with closing(await watches.open(top)) as watch:
                yield watch
            return
        resumed = watches.resume(*place_from(cursor), top) if cursor else None
        watch = resumed or await watches.open_kept(top)
        if cursor and resumed is None:
            watch.lost(worthless=True)
        try:
            yield watch
        finally:
            watches.leave(watch)

    async def _told(
        self, watch: Watch, style: ResponseFormat, caller: Caller, keepalive_s: float
    ) -> AsyncGenerator[Reply, None]:
        threads = self._threads.at(watch.card.top.path)
        reader = watch.attend(_WITH_ENTRIES if style.entries else _AT_ONCE, self._watches.turns)
        while True:
            events = await reader.next(keepalive_s)
            if isinstance(events, WatchKeepAlive):
                yield pb.WatchDirResponse(keepalive=pb.WatchDirResponse.KeepAlive())
                continue
            style.check(events)
            if style.entries:
                run = await threads.run(as_user(caller.user, partial(style.run_with_entries, events)))
            else:
                run = style.run(events)
            if run is not None:
                yield run
