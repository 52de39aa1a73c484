"""The one inotify instance of the daemon, shared by all that watch."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import Protocol

from envd.errors import Code, EnvdError, from_os_error

from . import inotify
from .inotify import Raw
from .placements import FILLED, PLACED, Key, Placements
from .scanning import is_temporary

# What one turn of the loop takes: some 300 reports, 2 ms of work.
_READ_BYTES = 12 * 1024
_ARRIVALS = inotify.CREATE | inotify.MOVED_TO


class Follower(Protocol):
    """Who is told of changes, on the loop."""

    def take(self, raw: Raw) -> None:
        """Take one report."""

    def overflowed(self) -> None:
        """Note that reports were lost: anything may have happened."""

    def settle(self) -> None:
        """Act on what was taken: there is no more for now."""


class Hub:
    """Hands the kernel's reports to followers. A directory that several of them follow has one watch, which is counted.

    `add` is called in threads, all else on the loop.

    Attributes:
        placements: files the daemon itself puts in their places.
    """

    def __init__(self, placements: Placements) -> None:
        self.placements = placements
        self._lock = threading.Lock()
        self._instance: int | None = None
        self._followers: dict[int, tuple[Follower, ...]] = {}
        self._keys: dict[int, Key] = {}
        self._read = 0
        self._passing: list[tuple[int, asyncio.Future[None]]] = []

    def open(self) -> None:
        """Have the instance, from the first watch on.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if the user has too many.
        """
        if self._instance is not None:
            return
        try:
            self._instance = inotify.open_instance()
        except OSError as exc:
            raise _no_instance(exc) from exc
        asyncio.get_running_loop().add_reader(self._instance, self._on_readable)

    def add(self, directory: int, key: Key, follower: Follower) -> int:
        """Follow a directory that is open; return the watch its reports will have.

        Raises:
            OSError: it cannot be watched. ENOSPC: the user has too many watches.
        """
        with self._lock:
            watch = inotify.add(self._opened, directory)
            followers = self._followers.get(watch, ())
            if follower not in followers:
                self._followers[watch] = (*followers, follower)
            if not followers:
                self._keys[watch] = key
                self.placements.watched(key)
            return watch

    def remove(self, watch: int, follower: Follower) -> None:
        """Stop following; the last one to do so ends the watch."""
        with self._lock:
            followers = self._followers.get(watch, ())
            left = tuple(other for other in followers if other is not follower)
            if left:
                self._followers[watch] = left
            elif followers:
                self._forget(watch)
                inotify.remove(self._opened, watch)

    async def passed(self) -> None:
        """Wait until all that the kernel has reported by now was handed out."""
        waiting = inotify.unread(self._instance) if self._instance is not None else 0
        if waiting:
            passed = asyncio.get_running_loop().create_future()
            self._passing.append((self._read + waiting, passed))
            await passed

    @property
    def _opened(self) -> int:
        if self._instance is None:
            raise ValueError("nothing can be followed before open()")
        return self._instance

    def _forget(self, watch: int) -> None:
        del self._followers[watch]
        self.placements.unwatched(self._keys.pop(watch))

    def _on_readable(self) -> None:
        try:
            data = os.read(self._opened, _READ_BYTES)
        except BlockingIOError:
            return
        touched: dict[Follower, None] = {}
        try:
            for raw in inotify.parse(data):
                self._hand_out(raw, touched)
            for follower in touched:
                follower.settle()
        finally:  # a follower that fails must not keep the others waiting
            self._read += len(data)
            if self._passing:
                self._pass()

    def _hand_out(self, raw: Raw, touched: dict[Follower, None]) -> None:
        if raw.mask & inotify.OVERFLOW:
            self._overflow()
            return
        if is_temporary(raw.name):
            if raw.mask & inotify.MOVED_FROM:
                self.placements.unhidden(raw.cookie)
            return
        if raw.mask & _ARRIVALS and self.placements.pending:
            raw = self._marked(raw)
        followers = self._followers.get(raw.watch, ())
        for follower in followers:
            follower.take(raw)
            touched[follower] = None
        if raw.mask & inotify.IGNORED:
            with self._lock:
                if raw.watch in self._followers:
                    self._forget(raw.watch)

    def _marked(self, raw: Raw) -> Raw:
        """Return a report with what is known of the file that has appeared, if the daemon has put it there."""
        key = self._keys.get(raw.watch)
        filled = None if key is None else self.placements.take(key, raw.name, raw.cookie)
        if filled is None:
            return raw
        return raw._replace(mask=raw.mask | PLACED | (FILLED if filled else 0))

    def _overflow(self) -> None:
        self.placements.clear()
        everybody = dict.fromkeys(follower for followers in self._followers.copy().values() for follower in followers)
        for follower in everybody:
            follower.overflowed()
            follower.settle()

    def _pass(self) -> None:
        waiting, self._passing = self._passing, []
        for at, passed in waiting:
            if at > self._read:
                self._passing.append((at, passed))
            elif not passed.done():
                passed.set_result(None)


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
