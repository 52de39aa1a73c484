"""The part of the Filesystem service that follows changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial

from envd.filesystem.messages import Caller, caller_from
from envd.filesystem.threads import Threads
from envd.filesystem.views import Views
from envd.rpc import Call, Encoded, Reply, keepalive_from
from envd_proto.filesystem import filesystem_pb2 as pb

from .following import Top
from .messages import Style, place_from
from .tops import find_top
from .watch import KeepAlive, Watch
from .watches import Watches

_AT_ONCE = 64


class WatchingService:
    """Serves the RPCs of filesystem.Filesystem that watch.

    Args:
        threads: where entries are looked at.
    """

    def __init__(self, views: Views, watches: Watches, threads: Threads) -> None:
        self._views = views
        self._watches = watches
        self._threads = threads
        self._entries: dict[str, bool] = {}

    async def watch_dir(self, request: pb.WatchDirRequest, call: Call) -> AsyncIterator[Reply]:
        """Send changes as they happen."""
        caller = caller_from(call, self._views)
        top = await self._top(request, caller)
        watch = await self._watches.open(top, kept=False)
        with closing(watch):
            yield pb.WatchDirResponse(start=pb.WatchDirResponse.StartEvent())
            style = Style(watch, caller, entries=request.include_entry, cursors=False)
            async for reply in self._told(watch, style, keepalive_from(call.headers)):
                yield reply

    async def create_watcher(self, request: pb.CreateWatcherRequest, call: Call) -> pb.CreateWatcherResponse:
        """Begin to collect changes."""
        top = await self._top(request, caller_from(call, self._views))
        watch = await self._watches.create(top)
        return pb.CreateWatcherResponse(watcher_id=watch.ident)

    async def get_watcher_events(self, request: pb.GetWatcherEventsRequest, call: Call) -> Encoded:
        """Hand out what was collected."""
        caller = caller_from(call, self._views)
        watch = self._watches.find(request.watcher_id)
        cursors = request.HasField("cursor")
        after = None
        if cursors:
            after = place_from(request.cursor)[1] if request.cursor else 0
        events = await self._watches.poll(watch, after)
        style = Style(watch, caller, entries=False, cursors=cursors)
        return await self._threads.run(style.answer, events)

    async def remove_watcher(self, request: pb.RemoveWatcherRequest, call: Call) -> pb.RemoveWatcherResponse:
        """End a watcher."""
        caller_from(call, self._views)
        self._watches.remove(request.watcher_id)
        return pb.RemoveWatcherResponse()

    async def _top(self, request: pb.WatchDirRequest | pb.CreateWatcherRequest, caller: Caller) -> Top:
        find = partial(find_top, recursive=request.recursive, network=request.allow_network_mounts)
        return await self._threads.run(find, caller.view.resolve(request.path))

    async def _told(self, watch: Watch, style: Style, keepalive_s: float) -> AsyncIterator[Reply]:
        reader = watch.attend()
        while True:
            events = await reader.next(keepalive_s)
            if isinstance(events, KeepAlive):
                yield pb.WatchDirResponse(keepalive=pb.WatchDirResponse.KeepAlive())
                continue
            if not style.entries:
                run = style.run(events)
                if run is not None:
                    yield run
                continue
            for at in range(0, len(events), _AT_ONCE):
                run = await self._threads.run(style.run_with_entries, events[at : at + _AT_ONCE])
                if run is not None:
                    yield run
