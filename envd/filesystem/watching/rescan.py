"""How far one tree is followed: scanning it, and letting go of what has left it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from envd.config import Watching
from envd.errors import Code, EnvdError
from envd.filesystem.access import acting_as
from envd.filesystem.threads import Threads
from envd.supervise import Supervisor

from .entry_budget import EntryBudget, SnapshotBudget
from .fair_scheduler import FairScheduler
from .inotify_hub import CrowdedError, InotifyHub, InotifySubscriber, no_watch
from .lookout import Lookout
from .root_check import RootCheck, find_anchor
from .scanning import LONGEST_BYTES, Scan, ScanBounds, ScanStoppedError, TooLongError, TooManyDirectoriesError
from .snapshot import Directory
from .watch_root import WatchRoot

# A directory that leaves one name has another a moment later.
LIMBO_S = 0.1
_SLICE = 64


@dataclass(frozen=True, slots=True)
class Deps:
    """What following needs.

    Attributes:
        threads: scans are made in.
        room: for all pictures together.
        turns: on the loop, for all who have much to do there.
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
            found = await self._threads.settle(self._walk, scan, [one.prefix for one in directories])
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
        return found, scan

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
            found = scan.walk(top.real, anchor.key if anchor else None, prefixes)
        self.anchor = anchor
        return found

    def close(self) -> None:
        """Have a scan end soon."""
        self._closed = True
        if self._scan is not None:
            self._scan.stopped = True

    @property
    def due(self) -> bool:
        """Something has left the picture a while ago and is still followed."""
        loose = self._account.loose
        return bool(loose) and (self._closed or time.monotonic() - loose[0][0] >= LIMBO_S)

    async def release(self) -> None:
        """Stop following what has left the picture a while ago. No scan may run meanwhile."""
        places, account = self._account.places, self._account
        now = time.monotonic()
        due = [directory for since, directory in account.loose if self._closed or now - since >= LIMBO_S]
        account.loose = [one for one in account.loose if not (self._closed or now - one[0] >= LIMBO_S)]
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
        """End the watches of a scan that came to nothing. Blocks; nobody else changes who is followed meanwhile."""
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
