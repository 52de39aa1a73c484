"""The one inotify instance of the daemon, shared by all watches."""

from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.writing.own_writes import FILLED, PLACED, Key, OwnWrites, number_of

from . import inotify
from .inotify import InotifyReader, Raw
from .scanning import is_temporary

# Followers that are told of one report in one step.
_TOGETHER = 8
_ARRIVALS = inotify.CREATE | inotify.MOVED_TO


class InotifySubscriber(Protocol):
    """Receives the kernel's reports, on the loop."""

    def take(self, raw: Raw) -> None:
        """Take one report."""

    def overflowed(self) -> None:
        """Act on a loss of reports: anything may have happened."""

    def settle(self) -> None:
        """Act on what was taken: there is no more for now."""


class CrowdedError(Exception):
    """All watches together follow as many directories as they may.

    Attributes:
        most: how many that is.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class InotifyHub:
    """Hands the kernel's reports to followers. A directory that several of them follow has one watch, which is counted.

    `add` and `remove` may be called in threads, all else on the loop.

    Args:
        most: directories that all followers together may follow; one that two follow counts twice.

    Attributes:
        placements: files the daemon itself puts in their places.
    """

    def __init__(self, placements: OwnWrites, most: int) -> None:
        self.placements = placements
        self._most = most
        self._total = 0
        self._count: Counter[InotifySubscriber] = Counter()
        # Of one follower alone, as most are: one tuple for all its directories is one that garbage collections visit.
        self._alone: dict[InotifySubscriber, tuple[InotifySubscriber, ...]] = {}
        self._lock = threading.Lock()
        self._intake: InotifyReader | None = None
        self._followers: dict[int, tuple[InotifySubscriber, ...]] = {}
        self._numbers: dict[int, int] = {}

    def open(self) -> None:
        """Have the instance, from the first watch on.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if the user has too many.
        """
        if self._intake is not None:
            return
        try:
            self._intake = InotifyReader(self._hand_out)
        except OSError as exc:
            raise _no_instance(exc) from exc

    def add(self, directory: int, key: Key, follower: InotifySubscriber) -> int:
        """Follow a directory that is open; return the watch its reports will have.

        Raises:
            CrowdedError: so many are followed already.
            OSError: it cannot be watched. ENOSPC: the user has too many watches.
        """
        with self._lock:
            watch = inotify.add(self._opened, directory)
            followers = self._followers.get(watch, ())
            if follower in followers:
                return watch
            if self._total >= self._most:
                if not followers:
                    inotify.remove(self._opened, watch)
                raise CrowdedError(self._most)
            self._total += 1
            self._count[follower] += 1
            alone = self._alone.setdefault(follower, (follower,))
            self._followers[watch] = (*followers, follower) if followers else alone
            if not followers:
                number = self._numbers[watch] = number_of(key)
                self.placements.watched(number)
            return watch

    def remove(self, watch: int, follower: InotifySubscriber) -> None:
        """Stop following; the last one to do so ends the watch."""
        with self._lock:
            followers = self._followers.get(watch, ())
            left = tuple(other for other in followers if other is not follower)
            if left and len(left) < len(followers):
                self._discount(follower)
                self._followers[watch] = left if len(left) > 1 else self._alone[left[0]]
            elif followers and not left:
                self._forget(watch)
                inotify.remove(self._opened, watch)

    async def passed(self) -> None:
        """Wait until all that the kernel has reported by now was handed out."""
        if self._intake is not None:
            await self._intake.passed()

    @property
    def _opened(self) -> int:
        if self._intake is None:
            raise ValueError("nothing can be followed before open()")
        return self._intake.instance

    def _forget(self, watch: int) -> None:
        for follower in self._followers.pop(watch):
            self._discount(follower)
        self.placements.unwatched(self._numbers.pop(watch))
        if not self._followers:  # dicts that once were large keep their memory until they are cleared
            self._followers.clear()
            self._numbers.clear()

    def _discount(self, follower: InotifySubscriber) -> None:
        self._total -= 1
        self._count[follower] -= 1
        if not self._count[follower]:
            del self._count[follower], self._alone[follower]

    def _hand_out(self, data: bytes) -> Iterator[None]:
        """Hand out reports, then have the followers that took some act on them; yields in between, often."""
        touched: dict[InotifySubscriber, None] = {}
        for raw in inotify.parse(data):
            if raw.mask & inotify.OVERFLOW:
                yield from self._overflow()
            elif not is_temporary(raw.name):
                yield from self._tell(raw, touched)
            elif raw.mask & inotify.MOVED_FROM:
                self.placements.unhidden(raw.cookie)
        for follower in touched:
            follower.settle()
            yield

    def _tell(self, raw: Raw, touched: dict[InotifySubscriber, None]) -> Iterator[None]:
        if raw.mask & _ARRIVALS and self.placements.pending:
            raw = self._marked(raw)
        for count, follower in enumerate(self._followers.get(raw.watch, ()), 1):
            follower.take(raw)
            touched[follower] = None
            if count % _TOGETHER == 0:
                yield
        yield
        if raw.mask & inotify.IGNORED:
            with self._lock:
                if raw.watch in self._followers:
                    self._forget(raw.watch)

    def _marked(self, raw: Raw) -> Raw:
        """Return a report with what is known of the file that has appeared, if the daemon has put it there."""
        number = self._numbers.get(raw.watch)
        filled = None if number is None else self.placements.take(number, raw.name, raw.cookie)
        if filled is None:
            return raw
        return raw._replace(mask=raw.mask | PLACED | (FILLED if filled else 0))

    def _overflow(self) -> Iterator[None]:
        self.placements.clear()
        everybody = dict.fromkeys(follower for followers in self._followers.copy().values() for follower in followers)
        for follower in everybody:
            follower.overflowed()
            follower.settle()
            yield


def no_watch(path: str, exc: OSError) -> EnvdError:
    """Return the error for a directory that cannot be watched."""
    if exc.errno == errno.ENOSPC:
        return EnvdError(
            Code.RESOURCE_EXHAUSTED,
            f"error adding path {path} to watcher: no space left on device: this user has as many watches as the "
            "kernel allows; raise the sysctl fs.inotify.max_user_watches, or watch less",
        )
    return from_os_error(exc, doing=f"error adding path {path} to watcher")


def _no_instance(exc: OSError) -> EnvdError:
    if exc.errno == errno.EMFILE:
        return EnvdError(
            Code.RESOURCE_EXHAUSTED,
            "error creating watcher: too many open files: this user has as many inotify instances as the "
            "kernel allows; raise the sysctl fs.inotify.max_user_instances",
        )
    return from_os_error(exc, doing="error creating watcher")
