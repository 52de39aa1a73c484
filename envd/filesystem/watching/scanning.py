"""Walking a tree to follow it, and to see what is there. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from envd.filesystem.access import open_path
from envd.filesystem.hidden_names import TEMPORARY
from envd.filesystem.walking import READ, MovedError, Walk, inode_of, open_down

from .anchor import LEADS_NOWHERE, AwayError
from .mounts import is_made_up, on_network
from .picture import state_of
from .placements import Key

_GONE = (FileNotFoundError, NotADirectoryError)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
# What only concerns one directory: it is gone, may not be read or followed, or is of a process that has ended.
_ITS_OWN = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESRCH, errno.EINVAL)

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

    def _walk_from(self, top: int, prefix: str) -> Found | None:
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
            with Walk(fd, _Place(st.st_dev, length, found), _failed, checked=self._check) as walk:
                for name, kind in walk:
                    if not is_temporary(name) and self._note(walk, name, kind):
                        self._enter(walk, name)
        return found

    def _followed(self, fd: int, st: os.stat_result) -> Found:
        """Follow a directory, before anything in it is read."""
        found = Found(state_of(st))
        if self._arm is not None:
            found.watch = self._arm(fd, (st.st_dev, st.st_ino))
            self.armed.add(found.watch)
        return found

    def _note(self, walk: Walk[_Place], name: str, kind: int) -> bool:
        """Take note of an entry, as far as there is room; return whether it is a directory to enter."""
        try:
            st = walk.stat(name)
        except OSError as exc:
            _pass_by(exc)
            return False
        if self._room <= 0:
            self.cut = True
        else:
            self._room -= 1
            walk.state.found.entries[name] = state_of(st)
        return self._recursive and kind == stat.S_IFDIR

    def _enter(self, walk: Walk[_Place], name: str) -> None:
        place = walk.state
        length = place.length + _length(name) + 1
        if length > LONGEST_BYTES:
            raise TooLongError
        try:
            st = walk.enter(name, place)
        except _GONE:
            place.found.entries.pop(name, None)
            return
        except OSError as exc:
            if exc.errno in _SHORTAGES:
                raise
            return  # not ours to read: it stays an entry without anything below
        try:
            found = None if self._is_foreign(walk.here, st, place.device) else self._followed(walk.here, st)
        except OSError as exc:  # nobody may follow it, as some of /proc
            _pass_by(exc)
            found = None
        if found is None:
            walk.leave()
            return
        walk.state = _Place(st.st_dev, length, found)
        place.found.entries.pop(name, None)
        place.found.below[name] = found

    def _is_foreign(self, fd: int, st: os.stat_result, device: int) -> bool:
        """Whether the directory is where another file system begins that is not to be entered."""
        return st.st_dev != device and (is_made_up(fd) or (not self._network and on_network(fd)))

    def _check(self) -> None:
        if self.stopped:
            raise ScanStoppedError


class _Place(NamedTuple):
    """A directory on the way.

    Attributes:
        length: of its path from the watched one on, in bytes.
    """

    device: int
    length: int
    found: Found


def _failed(_: _Place, exc: OSError) -> None:
    # What was moved away is reported, and scanned again where it comes to be.
    if not isinstance(exc, MovedError):
        _pass_by(exc)


def _pass_by(exc: OSError) -> None:
    """Go on behind what cannot be looked at. But what a disk cannot read just now is not gone: it must not seem so."""
    if exc.errno not in _ITS_OWN:
        raise exc


def _length(name: str) -> int:
    return len(name) if name.isascii() else len(os.fsencode(name))
