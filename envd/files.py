"""Builds what serves files: the parts of the Filesystem service, its REST routes, and the jobs behind them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace

from envd import rpc
from envd.config import Config
from envd.filesystem.caller import Callers
from envd.filesystem.monitor import StartThread
from envd.filesystem.search.pool import Workers
from envd.filesystem.steps import StepLimits as ThreadSizes
from envd.filesystem.thread_pool import ThreadPool
from envd.filesystem.threads import Threads
from envd.filesystem.uploads.slots import UploadSlots
from envd.filesystem.uploads.table import UploadTable
from envd.filesystem.watching.entry_budget import EntryBudget
from envd.filesystem.watching.fair_scheduler import FairScheduler
from envd.filesystem.watching.inotify_hub import InotifyHub
from envd.filesystem.watching.rescan import Deps
from envd.filesystem.watching.root_check import Lookout
from envd.filesystem.watching.slots import WatchSlots
from envd.filesystem.watching.watches import Watches
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries
from envd.host.access import Access
from envd.host.mounts import Mounts
from envd.host.session import Session
from envd.keeper.client import kept_file
from envd.services.filesystem.archive import routes as archive_routes
from envd.services.filesystem.archive.service import ArchiveService
from envd.services.filesystem.rest import routes as transfers
from envd.services.filesystem.search.service import SearchService
from envd.services.filesystem.service import FilesystemService
from envd.services.filesystem.uploads import routes as upload_routes
from envd.services.filesystem.uploads.service import UploadsService
from envd.services.filesystem.watching.service import WatchingService
from envd.supervise import Supervisor
from envd.web import Route
from envd_proto.filesystem import filesystem_pb2

_WATCHING_THREADS = ThreadSizes(working=8, threads=40, device=4, device_in_need=2)


@dataclass(frozen=True, slots=True)
class Files:
    """All that serves files.

    Attributes:
        methods: the RPCs.
        routes: the REST half.
    """

    methods: rpc.MethodTable
    routes: list[Route]
    leftovers: TempRegistry
    watches: Watches
    uploads: UploadTable
    searches: Workers

    async def restore(self) -> None:
        """Take over what an earlier server has left."""
        await self.watches.restore()

    def start(self, jobs: Supervisor) -> None:
        """Begin what goes on by itself."""
        jobs.spawn(asyncio.to_thread(self.leftovers.remove), name="leftovers")
        jobs.spawn(self.watches.expire(), name="watches")
        jobs.spawn(self.uploads.sweep(), name="uploads")

    async def stop(self, grace_s: float) -> None:
        """End it in an orderly way."""
        await self.searches.stop()
        await self.uploads.close(grace_s)


def build(config: Config, session: Session, access: Access, jobs: Supervisor, start_thread: StartThread) -> Files:
    """Build it; nothing runs yet."""
    limits = config.limits
    mounts = Mounts()
    threads = Threads(ThreadPool(ThreadSizes(give_up_s=limits.file_s), mounts, start_thread))
    leftovers, watches = TempRegistry(kept_file("leftovers")), _watches(config, jobs, mounts, start_thread)
    temporaries = Temporaries(leftovers, watches.placements)
    helped = not config.strict_users
    callers = Callers(session, access, helped=helped)
    uploads = _uploads(config, threads, temporaries)
    searches = Workers(threads, at_once=_searches(), give_up_s=limits.file_s)
    methods = rpc.bind(
        filesystem_pb2.DESCRIPTOR.services_by_name["Filesystem"],
        FilesystemService(callers, threads, temporaries),
        WatchingService(callers, watches, threads),
        UploadsService(uploads, callers, threads),
        SearchService(callers, threads, temporaries, searches),
        ArchiveService(callers, threads, temporaries),
        message_bytes=limits.message_bytes,
        larger={"Write": limits.input_bytes, "WritePart": limits.input_bytes, "Extract": limits.input_bytes},
    )
    routes = [
        *transfers.routes(callers, threads, temporaries, idle_s=limits.body_idle_s),
        *upload_routes.routes(uploads, callers, threads),
        *archive_routes.routes(callers, threads, temporaries, idle_s=limits.body_idle_s),
    ]
    return Files(methods, routes, leftovers, watches, uploads, searches)


def _watches(config: Config, jobs: Supervisor, mounts: Mounts, start_thread: StartThread) -> Watches:
    watching = config.watching
    # Threads of their own: uploads to a slow disk must not keep anybody from hearing of changes.
    threads = Threads(ThreadPool(replace(_WATCHING_THREADS, give_up_s=config.limits.file_s), mounts, start_thread))
    lookout, room = Lookout(threads, jobs), EntryBudget(watching.entries)
    hub = InotifyHub(OwnWrites(), watching.all_directories)
    means = Deps(hub, threads, jobs, room, watching, lookout, FairScheduler())
    slots = WatchSlots(kept_file("watchers"), watching.kept_watches)
    return Watches(means, slots)


def _searches() -> int:
    """Return how many may go on at once: some wait for disks or clients while others compute."""
    return min(max(2 * len(os.sched_getaffinity(0)), 4), 16)


def _uploads(config: Config, threads: Threads, temporaries: Temporaries) -> UploadTable:
    uploads = config.uploads
    slots = UploadSlots(kept_file("uploads"), uploads.at_once, uploads.ranges)
    idle_s = config.limits.body_idle_s
    return UploadTable(slots, threads, temporaries, uploads, idle_s=idle_s, helped=not config.strict_users)
