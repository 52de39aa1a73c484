"""Listing directories."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error

from .access import open_path
from .entries import Entry, describe_in
from .walking import READ, Walk

_GONE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class Listing:
    """What to list.

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
        with _Lister(listing, root).walk as way:
            yield from _entries(listing, way)
    finally:
        os.close(root)


@dataclass(slots=True)
class _Place:
    """A directory on the way.

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


@dataclass(slots=True)
class _Lister:
    listing: Listing
    root: int
    walk: Walk[_Place] = field(init=False)

    def __post_init__(self) -> None:
        after = self.listing.after
        top = _Place(self.listing.shown.rstrip("/") + "/", after)
        self.walk = Walk(self.root, top, self.failed, ordered=self.listing.ordered)
        self.walk.begin_at(after[0] if after else b"")

    def failed(self, place: _Place, exc: OSError) -> None:
        _unreadable(self.listing, place.prefix.rstrip("/") or "/", exc, root=not self.walk.depth)


def _entries(listing: Listing, way: Walk[_Place]) -> Generator[Entry, None, None]:
    for name, _ in way:
        place = way.state
        after = place.take_after(name) if place.after else None
        path = place.prefix + name
        try:
            st = way.stat(name)
        except _GONE:
            continue
        except OSError as exc:  # the directory may be read, but not searched
            _unreadable(listing, place.prefix.rstrip("/") or "/", exc, root=not way.depth)
            way.leave()
            continue
        if after is None:
            yield describe_in(way.here, name, path, st, with_metadata=listing.with_metadata)
        if way.depth + 1 < listing.depth and stat.S_ISDIR(st.st_mode):
            _enter(listing, way, name, _Place(path + "/", after or ()))


def _enter(listing: Listing, way: Walk[_Place], name: str, below: _Place) -> None:
    try:
        way.enter(name, below)
        way.begin_at(below.after[0] if below.after else b"")
    except OSError as exc:
        if not isinstance(exc, _GONE) and exc.errno != errno.ELOOP:  # a link by now
            _unreadable(listing, below.prefix[:-1], exc, root=False)


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
