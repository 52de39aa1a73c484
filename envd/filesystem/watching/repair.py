"""Scans that bring the account of one tree up to the disk, whatever its reports have not said."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from envd.errors import EnvdError

from .audience import WatchSubscribers
from .entry_budget import SnapshotBudget
from .events import ROOT, EventKind
from .polling import INTERVAL_S, Poller
from .raw_events import RawEvents
from .rescan import Deps, Rescan
from .root_check import REMOVED, AwayError, Departure, departure, find_anchor
from .scanning import Scan, ScanStoppedError
from .snapshot import Directory
from .states import DIRECTORY
from .watch_root import WatchRoot

log = logging.getLogger("envd.filesystem.watching")

# How often is looked whether the path of a tree that led elsewhere leads back.
_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Course:
    """How following goes on, as far as repairs have a part in it.

    Attributes:
        breathe: gives others a turn, after a millisecond of work.
        gone: called when the watched directory has left its path.
        changed: called when something has changed on a network file system, with the paths that were renamed.
    """

    breathe: Callable[[], Awaitable[None]]
    gone: Callable[[Departure], None]
    changed: Callable[[list[str]], None]


class Repair:
    """What is to be scanned of a tree, and scanning it. No report may be taken meanwhile.

    Attributes:
        leaving: a report that waits says that the directory has left its path: nothing is there to scan.
    """

    def __init__(
        self, top: WatchRoot, means: Deps, reports: RawEvents, reach: Rescan, audience: WatchSubscribers
    ) -> None:
        self._top = top
        self._means = means
        self._reports = reports
        self._reach = reach
        self._audience = audience
        self._account: SnapshotBudget = reports.account
        self.leaving = False
        self._threads = means.threads.at(top.real)
        self._all = False
        self._doubted = False
        self._closed = False
        self._done = asyncio.Event()
        self._done.set()
        self._poller: Poller | None = None

    @property
    def due(self) -> bool:
        """There is something to scan."""
        return bool(self._all or self._doubted or self._reports.arrived)

    @property
    def due_whole(self) -> bool:
        """And that is the whole tree."""
        return self._all

    def request(self) -> None:
        """Have the whole tree scanned."""
        self._all = True

    def doubt(self) -> None:
        """Have somebody look whether the path of the tree still leads to it."""
        self._doubted = True

    def lose(self) -> None:
        """Note that reports were lost: the whole tree is to be compared with what was told."""
        # Without a picture the client must list for itself, but only once changes behind its listing will be told.
        if not self._all and not self._account.quiet and self._account.whole:
            self._audience.lost(worthless=False)
        self._all = True
        self.leaving = False
        self._done.clear()
        self._reports.arrived.clear()

    async def done(self) -> None:
        """Wait until all differences that are known to be there were told."""
        await self._done.wait()

    def close(self) -> None:
        """Have nobody wait any more."""
        self._closed = True
        self._done.set()
        if self._poller is not None:
            self._poller.stop()

    async def scan(self, course: Course) -> bool:
        """Scan what is to be scanned: the whole tree, or all directories that have arrived.

        Returns:
            Whether that was done; not if it was only in doubt whether the tree is there.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if the kernel allows no more watches.
            ScanStoppedError: it was closed meanwhile, or the directory is gone.
        """
        if self._doubted:
            self._doubted = False
            await self._find(course)
            return False
        if self._all:
            self._all = False
            await self._scan_all(course)
        else:
            await self._scan_arrivals(course)
        return True

    async def _scan_all(self, course: Course) -> None:
        account, quiet = self._account, self._account.quiet
        if self._top.remote and self._poller is None:
            self._poller = Poller(course.changed)
            start = partial(self._poller.start, self._top.real, recursive=self._top.recursive)
            await self._threads.run(start)
        try:
            (found,), scan = await self._walk([account.root], course)
        except EnvdError as exc:
            if quiet or not self._top.remote:
                raise
            log.warning("a network file system cannot be read", extra={"reason": exc.message})
            asyncio.get_running_loop().call_later(INTERVAL_S, course.changed, [])
            return
        if found is None:
            if self.leaving:
                return
            course.gone(REMOVED)
            raise ScanStoppedError
        if scan.cut and account.whole:
            account.give_up()
        root = account.root
        if root.state not in (DIRECTORY, found.state):
            account.tell(EventKind.CHMOD, ROOT, found.state)
        account.quiet = quiet or not account.whole
        if account.quiet and account.fresh:
            account.adopt(found, scan.armed, scan.entries, scan.directories)
        else:
            await account.merge(root, found, course.breathe)
        account.quiet = quiet
        if not account.whole and not quiet:
            self._audience.lost(worthless=True)
        self._done.set()

    async def _scan_arrivals(self, course: Course) -> None:
        arrived, self._reports.arrived = self._reports.arrived, {}
        there = [directory for directory in arrived if not directory.gone]
        found, scan = await self._walk(there, course)
        if scan.cut:
            if self._account.whole:
                self._account.give_up()
            self._audience.lost(worthless=True)
        for directory, one in zip(there, found, strict=True):
            if one is not None and not directory.gone:
                await course.breathe()
                await self._account.merge(directory, one, course.breathe, moved=arrived[directory])
        await self._reach.release()

    async def _walk(self, directories: list[Directory], course: Course) -> tuple[list[Directory | None], Scan]:
        """Scan directories, once the path of the tree leads to it."""
        while True:
            try:
                return await self._reach.walk(directories)
            except AwayError:
                await self._find(course)
                if self.leaving:
                    return [None] * len(directories), self._reach.scan_for(directories)

    async def _find(self, course: Course) -> None:
        """Return when the path leads to the tree, or the kernel has said how it left; end if neither comes."""
        give_up_at = time.monotonic() + self._means.config.away_s
        while not (self.leaving or await self._is_there()):
            if time.monotonic() > give_up_at and self._reach.anchor is not None:
                how = await self._threads.run(departure, self._reach.anchor, self._top.real)
                if how is None:
                    return
                course.gone(how)
            if self._closed:
                raise ScanStoppedError
            await asyncio.sleep(_AGAIN_S)
            await self._means.hub.passed()

    async def _is_there(self) -> bool:
        anchor = self._reach.anchor
        if anchor is None:
            return True
        try:
            there = await self._threads.run(find_anchor, self._top.real)
        except OSError:
            return True  # nobody can tell, so who scans it will say
        return there is not None and there.key == anchor.key
