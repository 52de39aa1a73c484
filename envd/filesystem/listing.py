"""Walking directories."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error

from .entries import Entry, describe

# A thread that only computes keeps the event loop from running for 5 ms at a time; so it sleeps in between.
_SLICE = 128
_BREATH_S = 50e-6

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
            found = _next(listing, levels)
            if found is None:
                levels.pop().close()
                continue
            entry, after = found
            if not after.already_seen:
                yield entry
                count += 1
                if count % _SLICE == 0:
                    time.sleep(_BREATH_S)
            if len(levels) < listing.depth and stat.S_ISDIR(entry.stat.st_mode):
                real = f"{levels[-1].real.rstrip('/')}/{os.path.basename(entry.path)}"
                _descend(listing, levels, entry.path, real, after.rest)
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


def _next(listing: Listing, levels: list[_Level]) -> tuple[Entry, _After] | None:
    try:
        return levels[-1].next()
    except OSError as exc:
        _unreadable(listing, levels[-1].shown, exc, root=len(levels) == 1)
        return None


def _unreadable(listing: Listing, shown: str, exc: OSError, *, root: bool) -> None:
    if root or listing.unreadable is None:
        raise from_os_error(exc, doing=f"error reading directory {shown}") from exc
    listing.unreadable(shown, exc.errno or 0)


@dataclass(frozen=True, slots=True)
class _After:
    already_seen: bool = False
    rest: tuple[bytes, ...] = ()


_FREE = _After()


class _Level:
    """One directory on the way."""

    def __init__(self, listing: Listing, shown: str, real: str, after: tuple[bytes, ...]) -> None:
        self.real = real
        self.shown = shown
        self._prefix = shown.rstrip("/")
        self._after = after
        self._with_metadata = listing.with_metadata
        self._scan = os.scandir(real)
        self._found: Iterator[os.DirEntry[str]] = self._scan
        if listing.ordered:
            try:
                self._found = iter(_ordered(self._scan, after))
            finally:
                self._scan.close()

    def next(self) -> tuple[Entry, _After] | None:
        """Return the next entry and how much of it earlier pages have had; None behind the last one."""
        for found in self._found:
            with contextlib.suppress(*_GONE):
                path = f"{self._prefix}/{found.name}"
                st = found.stat(follow_symlinks=False)
                return describe(path, st, with_metadata=self._with_metadata), self._passed(found.name)
        return None

    def _passed(self, name: str) -> _After:
        if self._after and os.fsencode(name) == self._after[0]:
            return _After(already_seen=True, rest=self._after[1:])
        return _FREE

    def close(self) -> None:
        """Let go of the directory."""
        self._scan.close()


def _ordered(scan: Iterator[os.DirEntry[str]], after: tuple[bytes, ...]) -> Sequence[os.DirEntry[str]]:
    named = [(os.fsencode(found.name), found) for found in scan]
    if after:
        named = [pair for pair in named if pair[0] >= after[0]]
    named.sort(key=_name)
    return [found for _, found in named]


def _name(pair: tuple[bytes, object]) -> bytes:
    return pair[0]
