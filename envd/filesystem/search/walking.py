"""Going through directories. Everything here blocks."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem import listing
from envd.filesystem.globs import Globs, State
from envd.filesystem.hidden_names import TEMPORARY

from .found import Found, size_suits, time_suits
from .ignores import Ignores
from .orders import Order, Selection, Type
from .patience import Patience, TooSlowError

SORTED = 100_000
"""How many entries are kept at most to sort them by size or time."""

_GONE = (FileNotFoundError, NotADirectoryError)

Unreadable = Callable[[str, int], None]


class _Level(NamedTuple):
    """A directory on the way.

    Attributes:
        shown: its path with a slash behind it, as the client is to see it.
        real: the same for the kernel.
        identity: to know it again when a link leads back to it.
    """

    shown: str
    real: str
    entries: Iterator[os.DirEntry[str]]
    include: State
    exclude: State
    ignores: Ignores
    identity: tuple[int, int]


class Walk:
    """Goes through a selection.

    Attributes:
        examined: entries seen so far.
        truncated: there were more than could be sorted.

    Args:
        unreadable: told of each directory that cannot be read, with the number of the error.

    Raises:
        EnvdError: a glob is none.
    """

    def __init__(self, selection: Selection, patience: Patience, unreadable: Unreadable) -> None:
        self.examined = 0
        self.truncated = False
        self._selection = selection
        self._patience = patience
        self._unreadable = unreadable
        self._include = Globs(selection.include)
        self._exclude = Globs(selection.exclude)
        self._device = -1

    def found(self) -> Iterator[Found]:
        """Yield what is selected, in the order asked for.

        Raises:
            EnvdError: there is nothing by that path, or it cannot be read.
        """
        order = self._selection.order
        if order in (Order.MODIFIED, Order.SIZE):
            return self._sorted(by_size=order is Order.SIZE)
        return self._begin()

    def _sorted(self, *, by_size: bool) -> Iterator[Found]:
        # Of equal ones the first by path comes first; a counter because entries cannot be compared.
        kept: list[tuple[int, int, Found]] = []
        for count, found in enumerate(self._begin()):
            try:
                st = found.stat()
            except OSError:
                continue
            # Not what os.scandir gave, which keeps the entry's state, and one path instead of two alike.
            lean = found._replace(entry=None, real=found.path if found.real == found.path else found.real)
            item = (st.st_size if by_size else st.st_mtime_ns, -count, lean)
            if len(kept) < SORTED:
                heapq.heappush(kept, item)
            else:
                heapq.heappushpop(kept, item)
                self.truncated = True
        kept.sort(reverse=True)
        return (found for _, _, found in kept)

    def _begin(self) -> Iterator[Found]:
        path = self._selection.path
        try:
            st = os.stat(path)
        except OSError as exc:
            raise from_os_error(exc, doing=f"search {path}") from exc
        if stat.S_ISREG(st.st_mode):
            return self._only(path)
        if not stat.S_ISDIR(st.st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"search {path}: neither a file nor a directory")
        shown, real = listing.find(path)
        self._device = st.st_dev
        return self._below(shown, real)

    def _only(self, path: str) -> Iterator[Found]:
        """Yield a file that was named itself; what it is called does not matter then."""
        self.examined += 1
        found = Found(path, path, Type.FILE, None, follow=True)
        if self._suits(found):
            yield found

    def _below(self, shown: str, real: str) -> Iterator[Found]:
        levels: list[_Level] = []
        ignores = Ignores.above(real) if self._selection.gitignore else Ignores()
        try:
            levels.append(self._level(shown, real, self._include.start, self._exclude.start, ignores))
        except OSError as exc:
            raise from_os_error(exc, doing=f"search {shown}") from exc
        while levels:
            level = levels[-1]
            entry = self._next(level)
            if entry is None:
                levels.pop()
                continue
            self.examined += 1
            yield from self._visit(entry, levels)

    def _next(self, level: _Level) -> os.DirEntry[str] | None:
        try:
            return next(level.entries, None)
        except OSError as exc:
            self._unreadable(level.shown, exc.errno or 0)
            return None

    def _visit(self, entry: os.DirEntry[str], levels: list[_Level]) -> Iterator[Found]:
        level = levels[-1]
        name = entry.name
        if name[0] == "." and (self._selection.skip_hidden or TEMPORARY.fullmatch(name)):
            return
        found = self._look(entry, level)
        is_directory = found.type is Type.DIRECTORY
        excluded, exclude = self._exclude.step(level.exclude, name, is_directory=is_directory)
        if excluded:
            return
        if self._selection.gitignore and self._ignored(level, found):
            return
        included, include = True, level.include
        if self._selection.include:
            included, include = self._include.step(level.include, name, is_directory=is_directory)
        if included and self._suits(found):
            yield found
        if is_directory:
            self._enter(found, include, exclude, levels)

    def _ignored(self, level: _Level, found: Found) -> bool:
        name, is_directory = found.real[len(level.real) :], found.type is Type.DIRECTORY
        try:
            with self._patience.step(len(name)):
                return level.ignores.ignore(found.real, name, is_directory=is_directory)
        except TooSlowError as exc:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED,
                f"search: the rules of a .gitignore take too long on {found.path}; leave gitignore out",
            ) from exc

    def _look(self, entry: os.DirEntry[str], level: _Level) -> Found:
        path, real = level.shown + entry.name, level.real + entry.name
        follow = self._selection.follow_links
        try:
            if entry.is_file(follow_symlinks=follow):
                kind = Type.FILE
            elif entry.is_dir(follow_symlinks=follow):
                kind = Type.DIRECTORY
            elif entry.is_symlink():
                kind = Type.SYMLINK  # also one that leads nowhere
            else:
                kind = Type.OTHER
        except OSError:  # its kind is not in the directory, and it is gone or out of reach
            kind = Type.OTHER
        return Found(path, real, kind, entry, follow and kind is not Type.SYMLINK)

    def _suits(self, found: Found) -> bool:
        wanted = self._selection
        if wanted.types and found.type not in wanted.types:
            return False
        if not wanted.judges_state:
            return True
        try:
            st = found.stat()
        except OSError:
            return False
        return time_suits(wanted, st) and size_suits(wanted, found.type, st)

    def _enter(self, found: Found, include: State, exclude: State, levels: list[_Level]) -> None:
        wanted = self._selection
        if wanted.max_depth and len(levels) >= wanted.max_depth:
            return
        if wanted.include and not self._include.may_match_below(include):
            return
        try:
            if wanted.follow_links or wanted.one_file_system:
                st = os.stat(found.real)
                if wanted.one_file_system and st.st_dev != self._device:
                    return
                if any(level.identity == (st.st_dev, st.st_ino) for level in levels):
                    return  # a link back to where we are
            above = levels[-1].ignores
            ignores = above.entering(found.real) if wanted.gitignore else above
            levels.append(self._level(found.path, found.real, include, exclude, ignores))
        except _GONE:
            return
        except OSError as exc:
            self._unreadable(found.path, exc.errno or 0)

    def _level(self, shown: str, real: str, include: State, exclude: State, ignores: Ignores) -> _Level:
        scan: Iterator[os.DirEntry[str]] = os.scandir(real)
        if self._selection.order is not Order.NONE:
            scan = iter(_by_name(scan))
        if self._selection.gitignore:
            ignores = ignores.inside(real)
        identity = (-1, -1)
        if self._selection.follow_links:
            st = os.stat(real)
            identity = (st.st_dev, st.st_ino)
        return _Level(f"{shown.rstrip('/')}/", f"{real.rstrip('/')}/", scan, include, exclude, ignores, identity)


def _by_name(scan: Iterator[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    found = list(scan)
    # The order of characters is that of UTF-8's bytes, but not where a byte is none and has a surrogate in its place.
    if all(entry.name.isascii() for entry in found):
        found.sort(key=lambda entry: entry.name)
    else:
        found.sort(key=lambda entry: os.fsencode(entry.name))
    return found
