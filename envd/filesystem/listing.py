"""Walking directories."""

from __future__ import annotations

import errno
import heapq
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error

from .entries import Entry, describe

# A thread that only computes keeps the event loop from running for 5 ms at a time; so it sleeps in between.
_SLICE = 128
_BREATH_S = 50e-6

# To sort 100 000 names at once would keep the event loop from running for 40 ms.
_SORTED = 8192

_GONE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class Listing:
    """What to list.

    Attributes:
        shown: the directory as entries' paths show it.
        real: the same with all links resolved.
        depth: levels below it, at least 1.
        ordered: siblings in the byte order of their names; else as the file system yields them, in bounded memory.
        with_metadata: read extended attributes.
        after: only what comes after this place in an ordered listing: names from `real` on.
        unreadable: told of each directory below that cannot be read, by path and errno. None: that is an error.
    """

    shown: str
    real: str
    depth: int = 1
    ordered: bool = True
    with_metadata: bool = True
    after: tuple[bytes, ...] = ()
    unreadable: Callable[[str, int], None] | None = None


def find(path: str) -> tuple[str, str]:
    """Return a directory's path as listings show it, and with all links resolved. Blocks.

    Raises:
        EnvdError: NOT_FOUND if it is not there, INVALID_ARGUMENT if it is no directory, FAILED_PRECONDITION if links
            lead in a circle.
    """
    try:
        os.stat(path, follow_symlinks=False)
        real = os.path.realpath(path, strict=True)
        found = os.stat(real)
    except _GONE as exc:
        reason = os.strerror(exc.errno or 0).lower()
        raise EnvdError(Code.NOT_FOUND, f"path not found: lstat {path}: {reason}") from exc
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            text = f'cyclic symlink or chain >255 links at "{path}"'
            raise EnvdError(Code.FAILED_PRECONDITION, text) from exc
        raise from_os_error(exc, doing=f"error resolving symlink: {path}") from exc
    if not stat.S_ISDIR(found.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is not a directory: {path}")
    return os.path.normpath(path), real


def walk(listing: Listing) -> Generator[Entry, None, None]:
    """Yield the entries below a directory, each directory before what it contains. Blocks; close it when done.

    Entries that vanish meanwhile are left out.

    Raises:
        EnvdError: a directory cannot be read.
    """
    levels: list[_Level] = []
    try:
        _descend(listing, levels, listing.shown, listing.real, listing.after)
        count = 0
        while levels:
            level = levels[-1]
            entry = _next(listing, levels)
            if entry is None:
                levels.pop().close()
                continue
            after = level.take_after(entry) if level.after else None
            if after is None:
                yield entry
                count += 1
                if count % _SLICE == 0:
                    time.sleep(_BREATH_S)
            if len(levels) < listing.depth and stat.S_ISDIR(entry.stat.st_mode):
                _descend(listing, levels, entry.path, level.real_of(entry), after or ())
    finally:
        for level in levels:
            level.close()


def _descend(listing: Listing, levels: list[_Level], shown: str, real: str, after: tuple[bytes, ...]) -> None:
    try:
        levels.append(_Level(listing, shown, real, after))
    except OSError as exc:
        if levels and isinstance(exc, _GONE):
            return
        _unreadable(listing, shown, exc, root=not levels)


def _next(listing: Listing, levels: list[_Level]) -> Entry | None:
    level = levels[-1]
    try:
        for name in level.names:
            path = level.prefix + name
            try:
                st = os.lstat(level.real_prefix + name)
            except _GONE:
                continue
            return describe(path, st, with_metadata=listing.with_metadata)
    except OSError as exc:
        _unreadable(listing, level.shown, exc, root=len(levels) == 1)
    return None


def _unreadable(listing: Listing, shown: str, exc: OSError, *, root: bool) -> None:
    if root or listing.unreadable is None:
        raise from_os_error(exc, doing=f"error reading directory {shown}") from exc
    listing.unreadable(shown, exc.errno or 0)


class _Level:
    """One directory on the way; yields its names once.

    Attributes:
        shown: its path as entries show it.
        after: the names that lead from here to the last entry earlier pages had; none if they had nothing from here.
    """

    def __init__(self, listing: Listing, shown: str, real: str, after: tuple[bytes, ...]) -> None:
        self.shown = shown
        self.prefix = shown.rstrip("/") + "/"
        self.real_prefix = real.rstrip("/") + "/"
        self.after = after
        self._scan = os.scandir(real)
        self.names: Iterator[str] = (found.name for found in self._scan)
        if listing.ordered:
            try:
                self.names = _ordered(self.names, after)
            finally:
                self._scan.close()

    def real_of(self, entry: Entry) -> str:
        """Return the path of an entry here with all links resolved."""
        return self.real_prefix + entry.path[len(self.prefix) :]

    def take_after(self, entry: Entry) -> tuple[bytes, ...] | None:
        """Return the names that go on from an entry which earlier pages had; None if they did not have it."""
        after, self.after = self.after, ()
        return after[1:] if os.fsencode(entry.path[len(self.prefix) :]) == after[0] else None

    def close(self) -> None:
        """Let go of the directory."""
        self._scan.close()


def _ordered(names: Iterator[str], after: tuple[bytes, ...]) -> Iterator[str]:
    # Only names: what os.scandir gives keeps each entry's state, too, 600 bytes of it.
    found = list(names)
    if after:
        found = [name for name in found if os.fsencode(name) >= after[0]]
    # The order of characters is that of UTF-8's bytes, but not where a byte is none and has a surrogate in its place.
    key = None if all(map(str.isascii, found)) else os.fsencode
    runs = [sorted(found[at : at + _SORTED], key=key) for at in range(0, len(found), _SORTED)]
    return heapq.merge(*runs, key=key) if len(runs) > 1 else iter(runs[0] if runs else ())
