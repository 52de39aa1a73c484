"""Finds the entries of a selection. Everything here blocks."""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import open_path, path_of
from envd.filesystem.globs import Globs, State
from envd.filesystem.walking import SEARCH, Walk, open_down
from envd.filesystem.writing.hidden_names import TEMPORARY

from .cpu_limit import CpuLimit, TooSlowError
from .ignores import Ignores
from .match import Match, size_suits, time_suits
from .requests import Selection, SortBy, Type

SORTED = 100_000
"""The most entries that are sorted by size or time."""

_TYPES = {stat.S_IFREG: Type.FILE, stat.S_IFDIR: Type.DIRECTORY, stat.S_IFLNK: Type.SYMLINK}
# What is no directory any more: it is gone, or was made a file or link.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Unreadable = Callable[[str, int], None]


class _FindLevel(NamedTuple):
    """A directory between the root and the current entry.

    Attributes:
        prefix: begins the paths of what is in it, as the client is to see them.
        real: the same with all links resolved above where the search began; rules of .gitignore see that.
    """

    prefix: str
    real: str
    include: State
    exclude: State
    ignores: Ignores


class Finder:
    """Walks through the entries of a selection.

    Attributes:
        examined: entries seen so far.
        truncated: there were more than could be sorted.

    Args:
        unreadable: told of each directory that cannot be read, with the number of the error.

    Raises:
        EnvdError: a glob is none.
    """

    def __init__(self, selection: Selection, cpu_limit: CpuLimit, unreadable: Unreadable) -> None:
        self.examined = 0
        self.truncated = False
        self._selection = selection
        self._cpu_limit = cpu_limit
        self._unreadable = unreadable
        self._include = Globs(selection.include)
        self._exclude = Globs(selection.exclude)
        self._device = -1

    def matches(self) -> Generator[Match, None, None]:
        """Yield what is selected, in the order asked for. Close it when done.

        Raises:
            EnvdError: there is nothing by that path, or it cannot be read.
        """
        path = self._selection.path
        try:
            top = open_path(path)
        except OSError as exc:
            raise from_os_error(exc, doing=f"search {path}") from exc
        try:
            st = os.fstat(top)
            if stat.S_ISREG(st.st_mode):
                yield from self._only(path)
                return
            if not stat.S_ISDIR(st.st_mode):
                raise EnvdError(Code.INVALID_ARGUMENT, f"search {path}: neither a file nor a directory")
            self._device = st.st_dev
            yield from self._below(os.path.normpath(path), top)
        finally:
            os.close(top)

    def _only(self, path: str) -> Iterator[Match]:
        """Yield a file that was named itself; what it is called does not matter then."""
        self.examined += 1
        above, name = os.path.split(path)
        try:
            directory = open_path(above, SEARCH)
        except OSError as exc:
            raise from_os_error(exc, doing=f"search {path}") from exc
        try:
            match = Match(path, Type.FILE, directory, name, follow=True)
            if self._suits(match):
                yield match
        finally:
            os.close(directory)

    def _below(self, shown: str, top: int) -> Iterator[Match]:
        try:
            root = open_down(top, ())
        except OSError as exc:
            raise from_os_error(exc, doing=f"search {shown}") from exc
        try:
            order = self._selection.order
            if order in (SortBy.MODIFIED, SortBy.SIZE):
                yield from self._sorted(shown, root, by_size=order is SortBy.SIZE)
            else:
                yield from self._walked(shown, root)
        finally:
            os.close(root)

    def _sorted(self, shown: str, root: int, *, by_size: bool) -> Iterator[Match]:
        # Of equal ones the first by path comes first; a counter because entries cannot be compared.
        best: list[tuple[int, int, Match]] = []
        for count, match in enumerate(self._walked(shown, root)):
            try:
                st = match.stat()
            except OSError:
                continue
            item = (st.st_size if by_size else st.st_mtime_ns, -count, match)
            if len(best) < SORTED:
                heapq.heappush(best, item)
            else:
                heapq.heappushpop(best, item)
                self.truncated = True
        best.sort(reverse=True)
        yield from self._again([match for _, _, match in best], len(shown.rstrip("/")) + 1, root)

    def _again(self, best: Sequence[Match], prefix: int, root: int) -> Iterator[Match]:
        """Yield entries that were found before, each with its directory, reached from the root once more."""
        directory_path, directory = "", -1
        try:
            for match in best:
                above = match.path[prefix : -len(match.name)]
                if directory < 0 or above != directory_path:
                    if directory >= 0:
                        os.close(directory)
                        directory = -1
                    names = above.split("/")[:-1]
                    with contextlib.suppress(OSError):  # gone meanwhile
                        directory = open_down(root, names, SEARCH, follow=self._selection.follow_links)
                    directory_path = above
                if directory >= 0:
                    yield match._replace(directory=directory)
        finally:
            if directory >= 0:
                os.close(directory)

    def _walked(self, shown: str, root: int) -> Iterator[Match]:
        real = self._real(shown, root)
        ignores = Ignores()
        if self._selection.gitignore:
            ignores = Ignores.above(real).inside(root, real)
        top = _FindLevel(
            f"{shown.rstrip('/')}/", f"{real.rstrip('/')}/", self._include.start, self._exclude.start, ignores
        )
        ordered = self._selection.order is not SortBy.NONE
        with Walk(root, top, self._failed, ordered=ordered) as walk:
            for name, kind in walk:
                self.examined += 1
                yield from self._visit(name, kind, walk)

    def _real(self, shown: str, root: int) -> str:
        with contextlib.suppress(OSError):
            return path_of(root)
        return shown

    def _failed(self, place: _FindLevel, exc: OSError) -> None:
        self._unreadable(place.prefix.rstrip("/") or "/", exc.errno or 0)

    def _visit(self, name: str, kind: int, walk: Walk[_FindLevel]) -> Iterator[Match]:
        place = walk.state
        if name[0] == "." and (self._selection.skip_hidden or TEMPORARY.fullmatch(name)):
            return
        match = self._look(name, kind, walk)
        is_directory = match.type is Type.DIRECTORY
        excluded, exclude = self._exclude.step(place.exclude, name, is_directory=is_directory)
        if excluded:
            return
        if self._selection.gitignore and self._ignored(place, match):
            return
        included, include = True, place.include
        if self._selection.include:
            included, include = self._include.step(place.include, name, is_directory=is_directory)
        if included and self._suits(match):
            yield match
        if is_directory:
            below = _FindLevel(f"{match.path}/", f"{place.real}{name}/", include, exclude, place.ignores)
            self._enter(match, below, walk, through_link=kind == stat.S_IFLNK)

    def _ignored(self, place: _FindLevel, match: Match) -> bool:
        is_directory = match.type is Type.DIRECTORY
        try:
            with self._cpu_limit.step(len(match.name)):
                return place.ignores.ignore(place.real + match.name, match.name, is_directory=is_directory)
        except TooSlowError as exc:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED,
                f"search: the rules of a .gitignore take too long on {match.path}; leave gitignore out",
            ) from exc

    def _look(self, name: str, kind: int, walk: Walk[_FindLevel]) -> Match:
        match = Match(walk.state.prefix + name, _TYPES.get(kind, Type.OTHER), walk.here, name)
        if not self._selection.follow_links:
            return match
        if kind != stat.S_IFLNK:
            return match._replace(follow=True)
        try:
            end = stat.S_IFMT(os.stat(name, dir_fd=walk.here).st_mode)
        except OSError:
            return match  # it leads nowhere
        return match._replace(type=_TYPES.get(end, Type.OTHER), follow=True)

    def _suits(self, match: Match) -> bool:
        selection = self._selection
        if selection.types and match.type not in selection.types:
            return False
        if not selection.judges_state:
            return True
        try:
            st = match.stat()
        except OSError:
            return False
        return time_suits(selection, st) and size_suits(selection, match.type, st)

    def _enter(self, match: Match, below: _FindLevel, walk: Walk[_FindLevel], *, through_link: bool) -> None:
        selection = self._selection
        if selection.max_depth and walk.depth + 1 >= selection.max_depth:
            return
        if selection.include and not self._include.may_match_below(below.include):
            return
        try:
            st = walk.enter(match.name, below, follow=through_link)
        except OSError as exc:
            if exc.errno not in _GONE:
                self._unreadable(match.path, exc.errno or 0)
            return
        foreign = selection.one_file_system and st.st_dev != self._device
        if foreign or (selection.follow_links and walk.revisits):
            walk.leave()
        elif selection.gitignore:
            walk.state = below._replace(ignores=below.ignores.entering(walk.here, below.real))
