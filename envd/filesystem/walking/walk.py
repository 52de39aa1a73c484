"""Reads the directories of a tree, one after the other. Everything here blocks: call it from a thread."""

from __future__ import annotations

import heapq
import itertools
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator
from typing import Generic, Self, TypeVar

from .descent import MOST_OPEN, READ, Descent, MovedError

S = TypeVar("S")

OTHER = 0
"""The type of what is neither a regular file, a directory nor a link."""

# A thread that only computes keeps the event loop from running for 5 ms at a time; so it sleeps in between.
_SLICE = 128
_BREATH_S = 50e-6
# To sort 100 000 names at once would keep the event loop from running for 40 ms.
_SORTED = 8192

Item = tuple[str, int]
"""A name, and the type it has in the directory: S_IFREG, S_IFDIR, S_IFLNK or OTHER."""


class Walk(Generic[S]):
    """Yields what is in a directory, then goes back up; whoever calls `enter` for an item gets what is in that next.

    Each directory has a state of the caller's. Directories are read when the first item of them is asked for: ordered
    ones at once, others as they are yielded, in bounded memory. Vanished entries are the caller's to notice.

    Args:
        root: an open directory that can be read; stays the caller's.
        state: the root's.
        failed: called with the state of a directory that cannot be read on, or was moved away meanwhile, and why; the
            walk goes on behind it unless this raises.
        ordered: by the bytes of the names; else as the file system yields them.
        leaving: called while the walk is still in a directory that it has done.
        checked: called every 128 items; may raise to end the walk. None: it only pauses.
    """

    __slots__ = ("_checked", "_count", "_descent", "_failed", "_leaving", "_ordered", "_readings")

    def __init__(
        self,
        root: int,
        state: S,
        failed: Callable[[S, OSError], None],
        *,
        ordered: bool = False,
        leaving: Callable[[S], None] | None = None,
        checked: Callable[[], None] | None = None,
    ) -> None:
        self._descent = Descent(root)
        self._readings = [_DirectoryReader(state)]
        self._failed = failed
        self._ordered = ordered
        self._leaving = leaving
        self._checked = checked
        self._count = 0

    @property
    def here(self) -> int:
        """The directory where the walk is, open."""
        return self._descent.here

    @property
    def state(self) -> S:
        """Of the directory where the walk is."""
        return self._readings[-1].state

    @state.setter
    def state(self, state: S) -> None:
        self._readings[-1].state = state

    @property
    def depth(self) -> int:
        """How many levels below the root that is."""
        return self._descent.depth

    @property
    def names(self) -> tuple[str, ...]:
        """The names that lead there from the root."""
        return self._descent.names

    @property
    def revisits(self) -> bool:
        """The directory where the walk is, is also on the way to itself: a link led back to it."""
        return self._descent.revisits

    def stat(self, name: str) -> os.stat_result:
        """Look at an entry of the directory where the walk is; at a link, not at what it leads to.

        Raises:
            OSError: it is gone, or out of reach.
        """
        return os.lstat(name, dir_fd=self._descent.here)

    def enter(self, name: str, state: S, *, follow: bool = False) -> os.stat_result:
        """Go into a directory of the one where the walk is, with `follow` also through a link; return its state.

        Raises:
            OSError: that is not possible.
        """
        if len(self._readings) >= MOST_OPEN:
            self._readings[1 - MOST_OPEN].drain()
        st = self._descent.enter(name, flags=READ, follow=follow)
        self._readings.append(_DirectoryReader(state))
        return st

    def begin_at(self, name: bytes) -> None:
        """In an ordered walk, leave out what comes before a name in the directory where the walk is."""
        self._readings[-1].first = name

    def leave(self) -> None:
        """Go back up, whether or not the directory is done."""
        self._readings.pop().close()
        while True:
            try:
                self._descent.leave()
            except MovedError as exc:
                lost = self._readings.pop()
                lost.close()
                self._failed(lost.state, exc)
            else:
                return

    def __iter__(self) -> Generator[Item, None, None]:
        # A generator: to resume one costs a third of calling a method for each of a hundred thousand entries.
        while True:
            reading, is_done = self._readings[-1], False
            try:
                if reading.items is None:
                    reading.begin(self._descent.here, ordered=self._ordered)
                for item in reading.items or ():
                    self._count += 1
                    if self._count % _SLICE == 0:
                        self._pause()
                    yield item
                    if self._readings[-1] is not reading:
                        break  # the caller has entered or left a directory
                else:
                    is_done = True
            except OSError as exc:
                reading.end()
                self._failed(reading.state, exc)
            if is_done and self._ended(reading):
                return

    def _ended(self, reading: _DirectoryReader[S]) -> bool:
        """Go up from a directory that is done; return whether that was the root."""
        if self._leaving is not None:
            self._leaving(reading.state)
        if len(self._readings) == 1:
            return True
        self.leave()
        return False

    def _pause(self) -> None:
        if self._checked is not None:
            self._checked()
        time.sleep(_BREATH_S)

    def close(self) -> None:
        """Let go of everything."""
        for reading in self._readings:
            reading.close()
        self._descent.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _DirectoryReader(Generic[S]):
    """The remaining items of one directory.

    Attributes:
        first: names before this one are left out.
        items: None until the first was asked for.
    """

    __slots__ = ("_scan", "first", "items", "state")

    def __init__(self, state: S) -> None:
        self.state = state
        self.first = b""
        self._scan: Iterator[os.DirEntry[str]] | None = None
        self.items: Iterator[Item] | None = None

    def begin(self, directory: int, *, ordered: bool) -> None:
        """Begin to read."""
        self._scan = os.scandir(directory)
        if ordered:
            try:
                self.items = _ordered(self._scan, self.first)
            finally:
                self.close()
        else:
            self.items = ((entry.name, _type_of(entry)) for entry in self._scan)

    def drain(self) -> None:
        """Read all remaining items into memory, because the directory will be closed."""
        if self._scan is None or self.items is None:
            return
        items: list[Item] = []
        tail: Iterator[Item] = iter(())
        try:
            items.extend(self.items)
        except OSError as exc:  # it is told when the walk comes to it
            tail = _failing(exc)
        finally:
            self.close()
        self.items = itertools.chain(items, tail)

    def end(self) -> None:
        """Have nothing to come."""
        self.items = iter(())

    def close(self) -> None:
        """Let go of the directory."""
        if self._scan is not None:
            self._scan.close()  # type: ignore[attr-defined]  # of an os.scandir
            self._scan = None


def _failing(exc: OSError) -> Iterator[Item]:
    raise exc
    yield


def _type_of(entry: os.DirEntry[str]) -> int:
    try:
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        return stat.S_IFLNK if entry.is_symlink() else OTHER
    except OSError:  # the directory does not say, and it is out of reach
        return OTHER


def _ordered(scan: Iterator[os.DirEntry[str]], first: bytes) -> Iterator[Item]:
    # Only names, and types where they are not what most are: what os.scandir gives takes several times the memory.
    names: list[str] = []
    types: dict[str, int] = {}
    for entry in scan:
        name = entry.name
        if first and os.fsencode(name) < first:
            continue
        names.append(name)
        if (of_entry := _type_of(entry)) != stat.S_IFREG:
            types[name] = of_entry
    # The order of characters is that of UTF-8's bytes, but not where a byte is none and has a surrogate in its place.
    key = None if all(map(str.isascii, names)) else os.fsencode
    runs = [sorted(names[begin : begin + _SORTED], key=key) for begin in range(0, len(names), _SORTED)]
    merged = heapq.merge(*runs, key=key) if len(runs) > 1 else iter(runs[0] if runs else ())
    return ((name, types.get(name, stat.S_IFREG)) for name in merged)
