"""Looking whether the paths of watched directories still lead there: no report says that one above was renamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from envd.errors import EnvdError
from envd.filesystem.threads import Threads
from envd.supervise import Supervisor

from .root_check import RootCheck, find_anchor

INTERVAL_S = 0.5
_SLICE = 64
_BREATH_S = 50e-6


class Watcher(Protocol):
    """Whose directory is looked for."""

    @property
    def real(self) -> str:
        """Its path, with all links resolved."""

    def seen(self, there: RootCheck | None, /) -> None:
        """Hear what the path leads to now."""


class Lookout:
    """Looks for all watched directories twice a second, for each once, while there are any.

    One look at a time on each device: one that does not answer holds up only those on it. What happens above these is
    then noticed only by who scans them.
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
        found: dict[str, list[str]] = {}
        for path in {watcher.real for watcher in self._watchers}:
            found.setdefault(self._threads.device(path), []).append(path)
        return found

    async def _look_at(self, device: str, paths: list[str]) -> None:
        try:
            found = await self._threads.at(*paths[:1]).run(_find, paths)
        except EnvdError:
            return  # it does not answer
        finally:
            self._devices.discard(device)
        for watcher in list(self._watchers):
            if watcher.real in found:
                watcher.seen(found[watcher.real])


def _find(paths: Sequence[str]) -> dict[str, RootCheck | None]:
    """Return what paths lead to, without those nobody can tell of."""
    found = {}
    for count, path in enumerate(paths, 1):
        try:
            found[path] = find_anchor(path)
        except OSError:
            continue
        if count % _SLICE == 0:
            time.sleep(_BREATH_S)
    return found
