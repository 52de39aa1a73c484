"""Walking a tree to follow it, and to see what is there. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from envd.filesystem.access import open_path
from envd.filesystem.walking import READ, MovedError, Walk, inode_of, open_down
from envd.filesystem.writing.hidden_names import TEMPORARY
from envd.filesystem.writing.own_writes import Key

from .events import state_of
from .root_check import LEADS_NOWHERE, AwayError
from .snapshot import NONE, Directory, Snapshot
from .watch_root import is_made_up, on_network

_GONE = (FileNotFoundError, NotADirectoryError)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
# What only concerns one directory: it is gone, may not be read or followed, or is of a process that has ended.
_ITS_OWN = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESRCH, errno.EINVAL)

# Many directories have the names of others: among so many names is looked for one that is in memory.
_NAMES = 8192

LONGEST_BYTES = 16 * 1024
"""How long the path of a directory may be, from the watched one on: names grow with the square of a tree's depth."""


class Arming(Protocol):
    """Follows a directory that is open."""

    def __call__(self, directory: int, key: Key, /) -> int:
        """Return the watch its reports will have."""


def is_temporary(name: str) -> bool:
    """Return whether a name is one of the daemon's own, of which no client is told."""
    return name.startswith(".envd-") and TEMPORARY.fullmatch(name) is not None


class ScanStoppedError(Exception):
    """The scan was stopped: its result is not wanted any more."""


class TooLongError(Exception):
    """The path of a directory has more than LONGEST_BYTES bytes."""


class TooManyDirectoriesError(Exception):
    """There are more directories than one watch may have."""


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """The bounds of a scan.

    Attributes:
        recursive: into the directories below.
        network: enter network file systems that are mounted below.
        room: entries to record at most; beyond that directories are still followed.
        directories: that there may be.
        all_or_none: with more entries than room, record none.
    """

    recursive: bool
    network: bool
    room: int
    directories: int
    all_or_none: bool = False


class Scan:
    """Walks directories of one tree, following each before it looks at what is in it: so nothing can be missed.

    Args:
        arm: None: look without following.
        bounds: how far it goes.

    Attributes:
        armed: the numbers of directories that are followed, by their watches.
        directories: how many there were.
        entries: how many were taken note of, without those.
        cut: there were more entries than room.
        stopped: set it to have the walk end.
    """

    def __init__(self, arm: Arming | None, bounds: ScanBounds) -> None:
        self._arm = arm
        self._bounds = bounds
        self._picture = Snapshot()
        self._names: dict[str, str] = {}
        self.armed: dict[int, int] = {}
        self.directories = self.entries = 0
        self.cut = False
        self.stopped = False

    def walk(self, top: str, key: Key | None, prefixes: Sequence[str]) -> list[Directory | None]:
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
            TooManyError: it is too large.
        """
        try:
            fd = open_path(top, READ, follow=False)
        except OSError as exc:
            if exc.errno not in LEADS_NOWHERE:
                raise
            if key is None:
                return [None] * len(prefixes)
            raise AwayError from None
        try:
            if key not in (None, inode_of(fd)):
                raise AwayError
            return [self._walk_from(fd, prefix) for prefix in prefixes]
        finally:
            os.close(fd)

    def _walk_from(self, top: int, prefix: str) -> Directory | None:
        length = _length(prefix)
        if length > LONGEST_BYTES:
            raise TooLongError
        with contextlib.ExitStack() as undo:
            try:
                fd = open_down(top, prefix.split("/")[:-1])
                undo.callback(os.close, fd)
                st = os.fstat(fd)
                found = self._followed(fd, st)
            except OSError as exc:
                if not prefix or exc.errno in _SHORTAGES:
                    raise
                return None
            place = _ScanLevel(st.st_dev, length, found)
            with Walk(fd, place, _failed, leaving=self._done_with, checked=self._check) as walk:
                self._take_note(walk)
        return Directory(self._picture, found)

    def _take_note(self, walk: Walk[_ScanLevel]) -> None:
        """Walk, entering directories, and record the rest, as far as there is room."""
        recursive, without = self._bounds.recursive, self._bounds.all_or_none
        for name, kind in walk:
            below = recursive and kind == stat.S_IFDIR
            if not below and self.cut and without:
                continue  # first: of a tree that is too large for a picture, that is nearly everything
            if is_temporary(name) or (below and self._enter(walk, name)):
                continue
            if not (self.cut and without):
                self._note(walk, name)

    def _followed(self, fd: int, st: os.stat_result, above: int = NONE, name: str = "") -> int:
        """Follow a directory, before anything in it is read; return its number."""
        if self.directories >= self._bounds.directories:
            raise TooManyDirectoriesError
        self.directories += 1
        if len(self._names) < _NAMES:
            self._names.setdefault(name, name)
        name = self._names.get(name, name)
        if self._arm is None:
            return self._picture.add(state_of(st), above, name)
        watch = self._arm(fd, (st.st_dev, st.st_ino))
        found = self._picture.add(state_of(st), above, name)
        self._picture.watches[found] = watch
        self.armed[watch] = found
        return found

    def _note(self, walk: Walk[_ScanLevel], name: str) -> None:
        try:
            st = walk.stat(name)
        except OSError as exc:
            _pass_by(exc)
            return
        if not self._is_full():
            self.entries += 1
            self._picture.put(walk.state.found, name, state_of(st))
            return
        self.cut = True
        if self._bounds.all_or_none:  # at once: names are most of what a large tree takes
            self._picture.forget()
            self.entries = 0

    def _is_full(self) -> bool:
        directories = self.directories if self._bounds.all_or_none else 0  # they have room, but are part of a picture
        return self.entries + directories >= self._bounds.room

    def _done_with(self, place: _ScanLevel) -> None:
        self._picture.pack(place.found)

    def _enter(self, walk: Walk[_ScanLevel], name: str) -> bool:
        """Enter and follow a directory; return whether that was done, or it is gone. Else it is an entry like any."""
        place = walk.state
        length = place.length + _length(name) + 1
        if length > LONGEST_BYTES:
            raise TooLongError
        try:
            st = walk.enter(name, place)
        except _GONE:
            return True
        except OSError as exc:
            if exc.errno in _SHORTAGES:
                raise
            return False  # not ours to read
        number = None
        try:
            if not self._is_foreign(walk.here, st, place.device):
                number = self._followed(walk.here, st, place.found, name)
        except OSError as exc:  # it cannot be followed, as some of /proc
            _pass_by(exc)
        if number is None:
            walk.leave()
            return False
        walk.state = _ScanLevel(st.st_dev, length, number)
        return True

    def _is_foreign(self, fd: int, st: os.stat_result, device: int) -> bool:
        """Whether the directory is where another file system begins that is not to be entered."""
        return st.st_dev != device and (is_made_up(fd) or (not self._bounds.network and on_network(fd)))

    def _check(self) -> None:
        if self.stopped:
            raise ScanStoppedError


class _ScanLevel(NamedTuple):
    """A directory on the way down.

    Attributes:
        length: of its path from the watched one on, in bytes.
        found: its number.
    """

    device: int
    length: int
    found: int


def _failed(_: _ScanLevel, exc: OSError) -> None:
    # What was moved away is reported, and scanned again where it comes to be.
    if not isinstance(exc, MovedError):
        _pass_by(exc)


def _pass_by(exc: OSError) -> None:
    """Go on behind what cannot be looked at. But what a disk cannot read just now is not gone: it must not seem so."""
    if exc.errno not in _ITS_OWN:
        raise exc


def _length(name: str) -> int:
    return len(name) if name.isascii() else len(os.fsencode(name))
