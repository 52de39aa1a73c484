"""Lists directories."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error

from .access import open_path
from .entries import Entry, Seen, describe_all
from .walking import READ, Walk

_GONE = (FileNotFoundError, NotADirectoryError)
_RUN = 128  # entries of one directory that are described together


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory to list, and the options.

    Attributes:
        path: of the directory; links are followed.
        depth: levels below it, at least 1.
        ordered: siblings in the byte order of their names; else as the file system yields them, in bounded memory.
        with_metadata: read extended attributes.
        after: only what comes after this place in an ordered listing: names from `path` on.
        unreadable: told of each directory below that cannot be read, by path and errno. None: those that may not be
            read are passed by, and any other is an error.
    """

    path: str
    depth: int = 1
    ordered: bool = True
    with_metadata: bool = True
    after: tuple[bytes, ...] = ()
    unreadable: Callable[[str, int], None] | None = None

    @property
    def shown(self) -> str:
        """The directory as entries' paths show it."""
        return os.path.normpath(self.path)


def walk(listing: Listing) -> Generator[Entry, None, None]:
    """Yield the entries below a directory, each directory before what it contains. Blocks; close it when done.

    Entries that vanish meanwhile are left out.

    Raises:
        EnvdError: NOT_FOUND if it is not there, INVALID_ARGUMENT if it is no directory, FAILED_PRECONDITION if links
            lead in a circle; another one if a directory cannot be read.
    """
    root = _open_root(listing.path)
    try:
        lister = _Lister(listing, root)
        with lister.walk:
            yield from lister.entries()
    finally:
        os.close(root)


@dataclass(slots=True)
class _ListLevel:
    """A directory between the root and the current entry.

    Attributes:
        prefix: begins the paths of what is in it.
        after: the names that lead from here to the last entry earlier pages had; none if they had nothing from here.
    """

    prefix: str
    after: tuple[bytes, ...]

    def take_after(self, name: str) -> tuple[bytes, ...] | None:
        """Return the names that go on from an entry which earlier pages had; None if they did not have it."""
        after, self.after = self.after, ()
        return after[1:] if os.fsencode(name) == after[0] else None


class _Lister:
    """Goes through the directories, and describes what it sees in runs: all of a run is in one directory."""

    def __init__(self, listing: Listing, root: int) -> None:
        after = listing.after
        self._listing = listing
        top = _ListLevel(listing.shown.rstrip("/") + "/", after)
        self._pending: list[Seen] = []
        self._described: list[Entry] = []
        self.walk = Walk(root, top, self._failed, ordered=listing.ordered, leaving=self._leaving)
        self.walk.begin_at(after[0] if after else b"")

    def entries(self) -> Generator[Entry, None, None]:
        """Yield all entries."""
        for name, _ in self.walk:
            below = self._see(name)
            if below is not None or len(self._pending) >= _RUN:
                self._describe()
            if self._described:
                yield from self._described
                self._described = []
            if below is not None:
                self._enter(name, below)
        yield from self._described

    def _see(self, name: str) -> _ListLevel | None:
        """Look at an entry; return it as a place if it is a directory to go into."""
        place, walk = self.walk.state, self.walk
        after = place.take_after(name) if place.after else None
        path = place.prefix + name
        try:
            st = os.lstat(name, dir_fd=walk.here)
        except _GONE:
            return None
        except OSError as exc:  # the directory may be read, but not searched
            self._failed(place, exc)
            self._describe()
            walk.leave()
            return None
        if after is None:
            self._pending.append((name, path, st))
        if stat.S_ISDIR(st.st_mode) and walk.depth + 1 < self._listing.depth:
            return _ListLevel(path + "/", after or ())
        return None

    def _describe(self) -> None:
        """Describe what was seen in the directory where the walk is."""
        pending, self._pending = self._pending, []
        self._described += describe_all(self.walk.here, pending, with_metadata=self._listing.with_metadata)

    def _enter(self, name: str, below: _ListLevel) -> None:
        try:
            self.walk.enter(name, below)
            self.walk.begin_at(below.after[0] if below.after else b"")
        except OSError as exc:
            if not isinstance(exc, _GONE) and exc.errno != errno.ELOOP:  # a link by now
                _unreadable(self._listing, below.prefix[:-1], exc, root=False)

    def _leaving(self, _: _ListLevel) -> None:
        if self._pending:
            self._describe()

    def _failed(self, place: _ListLevel, exc: OSError) -> None:
        _unreadable(self._listing, place.prefix.rstrip("/") or "/", exc, root=not self.walk.depth)


def _unreadable(listing: Listing, shown: str, exc: OSError, *, root: bool) -> None:
    if isinstance(exc, ProcessLookupError) and not root:
        return  # a directory of a process that has ended
    if listing.unreadable is not None and not root:
        listing.unreadable(shown, exc.errno or 0)
    elif root or not isinstance(exc, PermissionError):
        raise from_os_error(exc, doing=f"error reading directory {shown}") from exc


def _open_root(path: str) -> int:
    try:
        return open_path(path, READ)
    except _GONE as exc:
        if _is_there(path):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is not a directory: {path}") from exc
        reason = os.strerror(exc.errno or 0).lower()
        raise EnvdError(Code.NOT_FOUND, f"path not found: lstat {path}: {reason}") from exc
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            text = f'cyclic symlink or chain >255 links at "{path}"'
            raise EnvdError(Code.FAILED_PRECONDITION, text) from exc
        raise from_os_error(exc, doing=f"error reading directory {path}") from exc


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True
