"""Scans of one tree: what is to be scanned, scanning it, and ending the watches of what has left it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from envd.config import Watching
from envd.errors import Code, EnvdError
from envd.filesystem.access import acting_as
from envd.filesystem.threads import Threads
from envd.supervise import Supervisor

from .entry_budget import EntryBudget, SnapshotBudget
from .events import DIRECTORY, ROOT, EventKind, WatchSubscribers
from .fair_scheduler import FairScheduler
from .inotify_hub import CrowdedError, InotifyHub, InotifySubscriber, no_watch
from .polling import INTERVAL_S, Poller
from .raw_events import RawEvents
from .root_check import REMOVED, AwayError, Departure, Lookout, RootCheck, departure, find_anchor
from .scanning import LONGEST_BYTES, Scan, ScanBounds, ScanStoppedError, TooLongError, TooManyDirectoriesError
from .snapshot import Directory
from .watch_root import WatchRoot

log = logging.getLogger("envd.filesystem.watching")

# A directory that leaves one name has another a moment later.
LIMBO_S = 0.1
# How often is looked whether the path of a tree that led elsewhere leads back.
_AGAIN_S = 0.05
_SLICE = 64


@dataclass(frozen=True, slots=True)
class Deps:
    """The parts of the daemon that every tree watcher uses.

    Attributes:
        threads: in which scans are made.
        room: for all snapshots together.
        turns: on the loop, for all coroutines that have much to do there.
    """

    hub: InotifyHub
    threads: Threads
    jobs: Supervisor
    room: EntryBudget
    config: Watching
    lookout: Lookout
    turns: FairScheduler


class Rescan:
    """Scans parts of a tree, one scan at a time, and has them followed from then on.

    Attributes:
        anchor: where the tree is. None until it was scanned; and if it is on a network file system, whose directories
            may be others every time one looks.
    """

    def __init__(self, top: WatchRoot, means: Deps, account: SnapshotBudget, follower: InotifySubscriber) -> None:
        self._top = top
        self._means = means
        self._account = account
        self._follower = follower
        self.anchor: RootCheck | None = None
        self._scan: Scan | None = None
        self._closed = False
        self._threads = means.threads.at(top.real)

    async def walk(self, directories: list[Directory]) -> tuple[list[Directory | None], Scan]:
        """Follow directories with all below, then look what is there.

        Returns:
            For each directory what was found, None if it is gone; and the scan that did.

        Raises:
            AwayError: the path of the tree does not lead to it.
            EnvdError: RESOURCE_EXHAUSTED if there are too many directories, or the tree is too deep. Nothing is
                followed then that was not before.
            ScanStoppedError: this was closed meanwhile.
        """
        top, scan, done = self._top, self.scan_for(directories), False
        self._scan = scan
        try:
            prefixes = [directory.prefix for directory in directories]
            scanned = await self._threads.settle(self._walk, scan, prefixes)
            done = not self._closed
        except CrowdedError as exc:
            raise _crowded(top.path, exc) from exc
        except OSError as exc:
            raise no_watch(top.path, exc) from exc
        except TooLongError as exc:
            raise _too_deep(top.path) from exc
        except TooManyDirectoriesError as exc:
            raise _too_many(top.path, self._means.config.directories) from exc
        finally:
            self._scan = None
            if not done:
                scan.stopped = True  # its thread may still walk
                await self._threads.finish(self._undo, scan)
        if not done:
            raise ScanStoppedError
        return scanned, scan

    def scan_for(self, directories: list[Directory]) -> Scan:
        """Return the scan that finds out about directories; it has not begun."""
        top, account, means = self._top, self._account, self._means
        whole_tree = directories == [account.root]
        room = max(means.room.left, 0) + (account.held if whole_tree else 0)
        left = means.config.directories - (0 if whole_tree else account.directories)
        bounds = ScanBounds(top.recursive, top.network, room, left, all_or_none=whole_tree)
        return Scan(None if top.remote else self._arm, bounds)

    def _walk(self, scan: Scan, prefixes: list[str]) -> list[Directory | None]:
        top = self._top
        anchor = self.anchor if self.anchor is not None or top.remote else find_anchor(top.real)
        with acting_as(top.user):
            directories = scan.walk(top.real, anchor.key if anchor else None, prefixes)
        self.anchor = anchor
        return directories

    def close(self) -> None:
        """Have a scan end soon."""
        self._closed = True
        if self._scan is not None:
            self._scan.stopped = True

    @property
    def due(self) -> bool:
        """Something has left the snapshot a while ago and is still followed."""
        loose = self._account.loose
        return bool(loose) and (self._closed or time.monotonic() - loose[0][0] >= LIMBO_S)

    async def release(self) -> None:
        """Stop following what has left the snapshot a while ago. No scan may run meanwhile."""
        places, account = self._account.places, self._account
        now = time.monotonic()
        due = [directory for since, directory in account.loose if self._closed or now - since >= LIMBO_S]
        account.loose = [(since, left) for since, left in account.loose if not (self._closed or now - since >= LIMBO_S)]
        count = 0
        for directory in due:
            picture = directory.picture
            for number in picture.all_below(directory.number):
                watch = picture.watches[number]
                if places.get(watch) == number:
                    del places[watch]
                    self._means.hub.remove(watch, self._follower)
                picture.free(number)
                count += 1
                if count % _SLICE == 0:
                    await self._means.turns.mine()
        if self._closed:
            account.forget()

    def _arm(self, fd: int, key: tuple[int, int]) -> int:
        return self._means.hub.add(fd, key, self._follower)

    def _undo(self, scan: Scan) -> None:
        """End the watches of a scan that came to nothing. Blocks; no other thread changes followers meanwhile."""
        for watch in scan.armed.keys() - self._account.places.keys():
            self._means.hub.remove(watch, self._follower)


def _crowded(path: str, exc: CrowdedError) -> EnvdError:
    return EnvdError(
        Code.RESOURCE_EXHAUSTED,
        f"{path} cannot be watched with all below: all watches together follow {exc.most} directories, the most there "
        "may be; end watches that are not needed, or watch directories that are farther down",
    )


def _too_many(path: str, most: int) -> EnvdError:
    return EnvdError(
        Code.RESOURCE_EXHAUSTED,
        f"{path} is too large to be watched with all below: there are more than {most} directories; watch those that "
        "matter, one by one, farther down",
    )


def _too_deep(path: str) -> EnvdError:
    return EnvdError(
        Code.RESOURCE_EXHAUSTED,
        f"{path} is too deep to be watched: the path of a directory below it has more than {LONGEST_BYTES} bytes; "
        "watch one that is farther down",
    )


@dataclass(frozen=True, slots=True)
class Course:
    """What a repair asks of the watcher of its tree.

    Attributes:
        breathe: gives others a turn, after a millisecond of work.
        gone: called when the watched directory has left its path.
        changed: called when something has changed on a network file system, with the paths that were renamed.
    """

    breathe: Callable[[], Awaitable[None]]
    gone: Callable[[Departure], None]
    changed: Callable[[list[str]], None]


class Repair:
    """Brings the snapshot of a tree up to the disk by scans. No report may be taken meanwhile.

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
        """The whole tree is to be scanned."""
        return self._all

    def request(self) -> None:
        """Have the whole tree scanned."""
        self._all = True

    def doubt(self) -> None:
        """Have the next scan look whether the path of the tree still leads to it."""
        self._doubted = True

    def lose(self) -> None:
        """Have the whole tree compared with what was told, for reports were lost."""
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
        """Have no caller wait any more."""
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
            (root_on_disk,), scan = await self._walk([account.root], course)
        except EnvdError as exc:
            if quiet or not self._top.remote:
                raise
            log.warning("a network file system cannot be read", extra={"reason": exc.message})
            asyncio.get_running_loop().call_later(INTERVAL_S, course.changed, [])
            return
        if root_on_disk is None:
            if self.leaving:
                return
            course.gone(REMOVED)
            raise ScanStoppedError
        if scan.cut and account.whole:
            account.give_up()
        root = account.root
        if root.state not in (DIRECTORY, root_on_disk.state):
            account.tell(EventKind.CHMOD, ROOT, root_on_disk.state)
        account.quiet = quiet or not account.whole
        if account.quiet and account.fresh:
            account.adopt(root_on_disk, scan.armed, scan.entries, scan.directories)
        else:
            await account.merge(root, root_on_disk, course.breathe)
        account.quiet = quiet
        if not account.whole and not quiet:
            self._audience.lost(worthless=True)
        self._done.set()

    async def _scan_arrivals(self, course: Course) -> None:
        arrived, self._reports.arrived = self._reports.arrived, {}
        present = [directory for directory in arrived if not directory.gone]
        scanned, scan = await self._walk(present, course)
        if scan.cut:
            if self._account.whole:
                self._account.give_up()
            self._audience.lost(worthless=True)
        for directory, on_disk in zip(present, scanned, strict=True):
            if on_disk is not None and not directory.gone:
                await course.breathe()
                await self._account.merge(directory, on_disk, course.breathe, moved=arrived[directory])
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
            root = await self._threads.run(find_anchor, self._top.real)
        except OSError:
            return True  # a scan will find out
        return root is not None and root.key == anchor.key
