"""Builds what serves files: the parts of the Filesystem service, its REST routes, and the jobs behind them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from envd import rpc
from envd.config import Config
from envd.filesystem import routes as transfers
from envd.filesystem.addresses import Addresses
from envd.filesystem.archive import routes as archive_routes
from envd.filesystem.archive.service import ArchiveService
from envd.filesystem.leftovers import Leftovers
from envd.filesystem.search.pool import Workers
from envd.filesystem.search.service import SearchService
from envd.filesystem.service import FilesystemService
from envd.filesystem.threads import Threads
from envd.filesystem.uploads import routes as upload_routes
from envd.filesystem.uploads.service import UploadsService
from envd.filesystem.uploads.slots import Slots as UploadSlots
from envd.filesystem.uploads.table import Bounds, Uploads
from envd.filesystem.views import Views
from envd.filesystem.watching.service import WatchingService
from envd.host.access import Access
from envd.host.session import Session
from envd.keeper.client import kept_file
from envd.supervise import Supervisor
from envd.web import Route
from envd_proto.filesystem import filesystem_pb2


@dataclass(frozen=True, slots=True)
class Files:
    """All that serves files.

    Attributes:
        methods: the RPCs.
        routes: the REST half.
    """

    methods: rpc.MethodTable
    routes: list[Route]
    leftovers: Leftovers
    uploads: Uploads
    searches: Workers

    def start(self, jobs: Supervisor) -> None:
        """Begin what goes on by itself."""
        jobs.spawn(asyncio.to_thread(self.leftovers.remove), name="leftovers")
        jobs.spawn(self.uploads.sweep(), name="uploads")

    async def stop(self, grace_s: float) -> None:
        """End it in an orderly way."""
        self.searches.stop()
        await self.uploads.close(grace_s)


def build(config: Config, session: Session, access: Access) -> Files:
    """Build it; nothing runs yet."""
    limits = config.limits
    threads, leftovers = Threads(), Leftovers(kept_file("leftovers"))
    views, addresses = Views(session), Addresses(session, access)
    uploads, searches = _uploads(config, threads, leftovers), Workers(threads, at_once=_searches())
    methods = rpc.bind(
        filesystem_pb2.DESCRIPTOR.services_by_name["Filesystem"],
        FilesystemService(views, threads, leftovers),
        WatchingService(),
        UploadsService(uploads, views),
        SearchService(views, threads, leftovers, searches),
        ArchiveService(views, threads, leftovers),
        message_bytes=limits.message_bytes,
        larger={"Write": limits.input_bytes, "WritePart": limits.input_bytes, "Extract": limits.input_bytes},
    )
    routes = [
        *transfers.routes(addresses, threads, leftovers, idle_s=limits.body_idle_s),
        *upload_routes.routes(uploads, addresses),
        *archive_routes.routes(addresses, threads, leftovers, idle_s=limits.body_idle_s),
    ]
    return Files(methods, routes, leftovers, uploads, searches)


def _searches() -> int:
    """Return how many may go on at once: some wait for disks or clients while others compute."""
    return min(max(2 * len(os.sched_getaffinity(0)), 4), 16)


def _uploads(config: Config, threads: Threads, leftovers: Leftovers) -> Uploads:
    told = config.uploads
    bounds = Bounds(
        told.at_once,
        told.expiry_s,
        told.committed_s,
        told.ranges,
        told.parts,
        told.parts_of_all,
        config.limits.body_idle_s,
    )
    slots = UploadSlots(kept_file("uploads"), told.at_once, told.ranges)
    return Uploads(slots, threads, leftovers, bounds)
