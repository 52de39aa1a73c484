"""Checks that the path of a watched directory still leads to it: no report says that one above was renamed."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from envd.errors import EnvdError
from envd.filesystem.threads import Threads
from envd.filesystem.writing.own_writes import Key
from envd.supervise import Supervisor

from .events import EventKind

INTERVAL_S = 0.5
_SLICE = 64
_BREATH_S = 50e-6

LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What the kernel says of a path by which nothing can be found, whoever looks."""


class AwayError(Exception):
    """The path of a watched directory does not lead to it now."""


@dataclass(frozen=True, slots=True)
class RootCheck:
    """The directory to which a path leads.

    Attributes:
        key: of the directory itself.
        above: of the one it is in.
    """

    key: Key
    above: Key


@dataclass(frozen=True, slots=True)
class Departure:
    """The way in which a watched directory has left its path.

    Attributes:
        kind: as its client is told.
        how: in words.
    """

    kind: EventKind
    how: str


RENAMED = Departure(EventKind.RENAME, "renamed")
REMOVED = Departure(EventKind.REMOVE, "removed")
UNMOUNTED = Departure(EventKind.REMOVE, "unmounted")
_REPLACED = Departure(EventKind.REMOVE, "replaced by another directory")
_MOVED = Departure(EventKind.RENAME, "moved, with a directory above it,")


def find_anchor(real: str) -> RootCheck | None:
    """Return what a path leads to; None if that is nothing. Blocks.

    Args:
        real: absolute, with all links resolved.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        here = os.stat(real, follow_symlinks=False)
        above = os.stat(os.path.dirname(real))
    except OSError as exc:
        if exc.errno in LEADS_NOWHERE:
            return None
        raise
    return RootCheck((here.st_dev, here.st_ino), (above.st_dev, above.st_ino))


def departure(anchor: RootCheck, real: str) -> Departure | None:
    """Return how a directory has left its path, which the kernel did not say: so it was not renamed. Blocks.

    None if it is there, after all.
    """
    try:
        above = os.stat(os.path.dirname(real))
        if (above.st_dev, above.st_ino) != anchor.above:
            return _MOVED
        here = os.stat(real, follow_symlinks=False)
    except FileNotFoundError as exc:
        return REMOVED if exc.filename == real else _MOVED
    except OSError:
        return _MOVED
    return None if (here.st_dev, here.st_ino) == anchor.key else _REPLACED


class Watcher(Protocol):
    """Has its directory looked for."""

    @property
    def real(self) -> str:
        """Its path, with all links resolved."""

    def seen(self, root: RootCheck | None, /) -> None:
        """Hear what the path leads to now."""


class Lookout:
    """Looks for all watched directories twice a second, for each once, while there are any.

    One look at a time on each device: one that does not answer holds up only those on it. What happens above these is
    then noticed only by a scan.
    """

    def __init__(self, threads: Threads, jobs: Supervisor) -> None:
        self._threads = threads
        self._jobs = jobs
        self._watchers: dict[Watcher, None] = {}
        self._looking = False
        self._devices: set[str] = set()

    def add(self, watcher: Watcher) -> None:
        """Look for one more."""
        self._watchers[watcher] = None
        if not self._looking:
            self._looking = True
            self._jobs.spawn(self._look(), name="look for watched directories")

    def remove(self, watcher: Watcher) -> None:
        """Do not look for it any more."""
        self._watchers.pop(watcher, None)

    async def _look(self) -> None:
        try:
            while self._watchers:
                await asyncio.sleep(INTERVAL_S)
                for device, paths in self._by_device().items():
                    if device not in self._devices:
                        self._devices.add(device)
                        self._jobs.spawn(self._look_at(device, paths), name="look for watched directories")
        finally:
            self._looking = False

    def _by_device(self) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for path in {watcher.real for watcher in self._watchers}:
            paths.setdefault(self._threads.device(path), []).append(path)
        return paths

    async def _look_at(self, device: str, paths: list[str]) -> None:
        try:
            roots = await self._threads.at(*paths[:1]).run(_find, paths)
        except EnvdError:
            return  # it does not answer
        finally:
            self._devices.discard(device)
        for watcher in list(self._watchers):
            if watcher.real in roots:
                watcher.seen(roots[watcher.real])


def _find(paths: Sequence[str]) -> dict[str, RootCheck | None]:
    """Return what paths lead to, without those that cannot be looked at."""
    roots = {}
    for count, path in enumerate(paths, 1):
        try:
            roots[path] = find_anchor(path)
        except OSError:
            continue
        if count % _SLICE == 0:
            time.sleep(_BREATH_S)
    return roots
