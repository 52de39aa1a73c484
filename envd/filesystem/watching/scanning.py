"""Walking a tree to follow it, and to see what is there. Everything here blocks."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from envd.filesystem.hidden_names import TEMPORARY

from .mounts import is_made_up, on_network
from .picture import state_of
from .placements import Key

# As in listing.py: a thread that only computes keeps the event loop from running.
_SLICE = 64
_BREATH_S = 50e-6

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (FileNotFoundError, NotADirectoryError)


class Arming(Protocol):
    """Follows a directory that is open."""

    def __call__(self, directory: int, key: Key, /) -> int:
        """Return the watch its reports will have."""


def is_temporary(name: str) -> bool:
    """Return whether a name is one of the daemon's own, which nobody is told of."""
    return name.startswith(".envd-") and TEMPORARY.fullmatch(name) is not None


@dataclass(slots=True)
class Found:
    """A directory as it was found.

    Attributes:
        state: as picture.state_of.
        watch: by which it is followed; None if it cannot be.
        entries: states by name of what is in it, without `below`.
        below: the directories in it, if they were entered.
    """

    state: int
    watch: int | None = None
    entries: dict[str, int] = field(default_factory=dict)
    below: dict[str, Found] = field(default_factory=dict)


class ScanStoppedError(Exception):
    """Nobody wants the result any more."""


class Scan:
    """Walks directories, following each before it looks at what is in it: so nothing can be missed.

    Args:
        arm: None: look without following.
        room: entries to take note of at most; beyond that directories are still followed.
        network: enter network file systems that are mounted below.

    Attributes:
        armed: the watches that were made.
        cut: there were more entries than room.
        stopped: set it to have the walk end.
    """

    def __init__(self, arm: Arming | None, *, recursive: bool, room: int, network: bool) -> None:
        self._arm = arm
        self._recursive = recursive
        self._room = room
        self._network = network
        self.armed: set[int] = set()
        self.cut = False
        self.stopped = False
        self._steps = 0

    def walk(self, path: str, *, needed: bool) -> Found | None:
        """Walk one tree; None if there is no directory by that path or, unless it is needed, none that can be read.

        Raises:
            OSError: it cannot be followed, or not be read though it is needed.
            ScanStoppedError: it was to stop.
        """
        try:
            fd = os.open(path, _OPEN)
        except _GONE:
            return None
        except OSError:
            if needed:
                raise
            return None
        levels = [self._level(fd)]
        top = levels[0].found
        try:
            while levels:
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    levels.pop().close()
                elif (below := self._enter(level, name)) is not None:
                    levels.append(below)
        finally:
            for level in levels:
                level.close()
        return top

    def _level(self, fd: int) -> _Level:
        """Follow a directory, then read it."""
        try:
            st = os.fstat(fd)
            found = Found(state_of(st))
            if self._arm is not None:
                found.watch = self._arm(fd, (st.st_dev, st.st_ino))
                self.armed.add(found.watch)
            return _Level(fd, st.st_dev, found, self._read(fd, found))
        except BaseException:
            os.close(fd)
            raise

    def _read(self, fd: int, found: Found) -> Iterator[str]:
        """Take note of all entries; return the names of the directories to enter."""
        enter: list[str] = []
        with contextlib.suppress(*_GONE), os.scandir(fd) as entries:  # removed: it has no entries
            for entry in entries:
                self._step()
                if is_temporary(entry.name):
                    continue
                with contextlib.suppress(*_GONE):
                    self._note(found, entry.name, entry.stat(follow_symlinks=False))
                    if self._recursive and entry.is_dir(follow_symlinks=False):
                        enter.append(entry.name)
        return iter(enter)

    def _note(self, found: Found, name: str, st: os.stat_result) -> None:
        if self._room <= 0:
            self.cut = True
            return
        self._room -= 1
        found.entries[name] = state_of(st)

    def _enter(self, level: _Level, name: str) -> _Level | None:
        self._step()
        try:
            fd = os.open(name, _OPEN, dir_fd=level.fd)
        except _GONE:
            level.found.entries.pop(name, None)
            return None
        except OSError:
            return None  # not ours to read: it stays an entry without anything below
        if self._is_foreign(fd, level.device):
            os.close(fd)
            return None
        try:
            below = self._level(fd)
        except PermissionError:
            return None  # the kernel lets nobody follow it, as some of /proc
        level.found.entries.pop(name, None)
        level.found.below[name] = below.found
        return below

    def _is_foreign(self, fd: int, device: int) -> bool:
        """Whether the directory is where another file system begins that is not to be entered."""
        with contextlib.suppress(OSError):
            if os.fstat(fd).st_dev != device:
                return is_made_up(fd) or (not self._network and on_network(fd))
        return False

    def _step(self) -> None:
        self._steps += 1
        if self._steps % _SLICE == 0:
            if self.stopped:
                raise ScanStoppedError
            time.sleep(_BREATH_S)


@dataclass(slots=True)
class _Level:
    """A directory on the way."""

    fd: int
    device: int
    found: Found
    names: Iterator[str]

    def close(self) -> None:
        os.close(self.fd)
