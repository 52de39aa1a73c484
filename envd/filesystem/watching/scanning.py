"""Walking a tree to follow it, and to see what is there. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from envd.filesystem.hidden_names import TEMPORARY

from .anchor import LEADS_NOWHERE, AwayError
from .mounts import is_made_up, on_network
from .picture import state_of
from .placements import Key

# As in listing.py: a thread that only computes keeps the event loop from running.
_SLICE = 64
_BREATH_S = 50e-6

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (FileNotFoundError, NotADirectoryError)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
# What only concerns one directory: it is gone, may not be read or followed, or is of a process that has ended.
_ITS_OWN = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESRCH, errno.EINVAL)

# The kernel takes paths of 4096 bytes; longer ones are followed piece by piece.
_PIECE_BYTES = 4000
LONGEST_BYTES = 16 * 1024
"""How long the path of a directory may be, from the watched one on: names grow with the square of a tree's depth."""


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


class TooLongError(Exception):
    """The path of a directory has more than LONGEST_BYTES bytes."""


class Scan:
    """Walks directories of one tree, following each before it looks at what is in it: so nothing can be missed.

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

    def walk(self, top: str, key: Key | None, prefixes: Sequence[str]) -> list[Found | None]:
        """Walk a tree, or parts of it.

        Args:
            top: path of its root.
            key: what that must lead to; None: anything.
            prefixes: paths of the parts from the root on, each with a slash behind; empty for the whole.

        Returns:
            For each what was found, None if there is no directory by that path or, but for the root, none that can be
            read.

        Raises:
            AwayError: the path of the root leads elsewhere, or nowhere.
            OSError: the tree cannot be followed, or its root not be read.
            ScanStoppedError: it was to stop.
            TooLongError: it is too deep.
        """
        try:
            fd = os.open(top, _OPEN)
        except OSError as exc:
            if exc.errno not in LEADS_NOWHERE:
                raise
            if key is None:
                return [None] * len(prefixes)
            raise AwayError from None
        try:
            st = os.fstat(fd)
            if key not in (None, (st.st_dev, st.st_ino)):
                raise AwayError
            return [self._walk_from(fd, prefix) for prefix in prefixes]
        finally:
            os.close(fd)

    def _walk_from(self, top: int, prefix: str) -> Found | None:
        length = _length(prefix)
        if length > LONGEST_BYTES:
            raise TooLongError
        try:
            levels = [self._level(_open_below(top, prefix), length)]
        except OSError as exc:
            if not prefix or exc.errno in _SHORTAGES:
                raise
            return None
        found = levels[0].found
        try:
            while levels:
                level = levels[-1]
                below = self._enter(level, level.names.pop()) if level.names else None
                if not level.names:  # a chain of directories holds one descriptor, however long it is
                    levels.pop().close()
                if below is not None:
                    levels.append(below)
        finally:
            for level in levels:
                level.close()
        return found

    def _level(self, fd: int, length: int) -> _Level:
        """Follow a directory, then read it."""
        try:
            st = os.fstat(fd)
            found = Found(state_of(st))
            if self._arm is not None:
                found.watch = self._arm(fd, (st.st_dev, st.st_ino))
                self.armed.add(found.watch)
            return _Level(fd, st.st_dev, length, found, self._read(fd, found))
        except BaseException:
            os.close(fd)
            raise

    def _read(self, fd: int, found: Found) -> list[str]:
        """Take note of all entries; return the names of the directories to enter, the first one last."""
        enter: list[str] = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    self._step()
                    if not is_temporary(entry.name) and self._note(found, entry):
                        enter.append(entry.name)
        except OSError as exc:  # removed, for example: then it has no entries
            _pass_by(exc)
        return enter[::-1]

    def _note(self, found: Found, entry: os.DirEntry[str]) -> bool:
        """Take note of an entry, as far as there is room; return whether it is a directory to enter."""
        try:
            st = entry.stat(follow_symlinks=False)
            enter = self._recursive and entry.is_dir(follow_symlinks=False)
        except OSError as exc:
            _pass_by(exc)
            return False
        if self._room <= 0:
            self.cut = True
        else:
            self._room -= 1
            found.entries[entry.name] = state_of(st)
        return enter

    def _enter(self, level: _Level, name: str) -> _Level | None:
        self._step()
        length = level.length + _length(name) + 1
        if length > LONGEST_BYTES:
            raise TooLongError
        try:
            fd = os.open(name, _OPEN, dir_fd=level.fd)
        except _GONE:
            level.found.entries.pop(name, None)
            return None
        except OSError as exc:
            if exc.errno in _SHORTAGES:
                raise
            return None  # not ours to read: it stays an entry without anything below
        if self._is_foreign(fd, level.device):
            os.close(fd)
            return None
        try:
            below = self._level(fd, length)
        except OSError as exc:
            _pass_by(exc)
            return None  # nobody may follow it, as some of /proc
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
    length: int
    found: Found
    names: list[str]

    def close(self) -> None:
        os.close(self.fd)


def _open_below(top: int, prefix: str) -> int:
    """Open a directory by its path from another one on, however long it is; links on the last bits are not followed."""
    path = os.fsencode(prefix.rstrip("/")) or b"."
    with contextlib.ExitStack() as fds:
        while len(path) > _PIECE_BYTES:
            cut = path.rindex(b"/", 0, _PIECE_BYTES)
            top = os.open(path[:cut], _PASS, dir_fd=top)
            fds.callback(os.close, top)
            path = path[cut + 1 :]
        return os.open(path, _OPEN, dir_fd=top)


def _pass_by(exc: OSError) -> None:
    """Go on behind what cannot be looked at. But what a disk cannot read just now is not gone: it must not seem so."""
    if exc.errno not in _ITS_OWN:
        raise exc


def _length(name: str) -> int:
    return len(name) if name.isascii() else len(os.fsencode(name))
