"""The part of the Filesystem service that follows changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from envd.errors import Code, EnvdError
from envd.rpc import Call, Reply
from envd_proto.filesystem import filesystem_pb2 as pb


class WatchingService:
    """Serves the RPCs of filesystem.Filesystem that watch."""

    async def watch_dir(self, _: pb.WatchDirRequest, __: Call) -> AsyncIterator[Reply]:
        """Not yet."""
        raise _no_watching()
        yield pb.WatchDirResponse()  # what makes it a stream

    async def create_watcher(self, _: pb.CreateWatcherRequest, __: Call) -> pb.CreateWatcherResponse:
        """Not yet."""
        raise _no_watching()

    async def get_watcher_events(self, _: pb.GetWatcherEventsRequest, __: Call) -> pb.GetWatcherEventsResponse:
        """Not yet."""
        raise _no_watching()

    async def remove_watcher(self, _: pb.RemoveWatcherRequest, __: Call) -> pb.RemoveWatcherResponse:
        """Not yet."""
        raise _no_watching()


def _no_watching() -> EnvdError:
    return EnvdError(Code.UNIMPLEMENTED, "watching is not served yet")
