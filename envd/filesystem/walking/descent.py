"""Descends into a tree and ascends again. Everything here blocks: call it from a thread."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass

from envd.filesystem.access import open_path, refuse_own
from envd.filesystem.access.resolving import PROC, is_proc_root
from envd.filesystem.access.system_calls import file_system_type

READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags that open a directory to read it."""
SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags that open a directory only to name entries in it: that needs no right to read it."""

MOST_OPEN = 16
"""Descriptors one way holds, whatever its length. Few trees have more levels, and those pay one open for each."""

Inode = tuple[int, int]
"""Device and number."""


class MovedError(OSError):
    """A directory above was moved away while what is below it was walked: the way back does not lead to it."""

    def __init__(self, name: str) -> None:
        super().__init__(errno.ESTALE, "a directory was moved away while it was walked", name)


@dataclass(slots=True)
class _Level:
    """A directory between the root and the current one.

    Attributes:
        fd: open; -1 while it is closed.
        name: in the one above.
        inode: to know it again.
        followed: a link led to it.
        lists_processes: it is the root of a procfs.
    """

    fd: int
    name: str
    inode: Inode
    followed: bool = False
    lists_processes: bool = False


class Descent:
    """A directory of a tree, and the way to it from the root.

    Nobody can bend it: each step goes from an open directory to a name in it, through a link only where the caller says
    so, and never into a process of the daemon's own on a procfs. It holds at most MOST_OPEN descriptors: the root and
    the lowest levels. Those in between are opened again, from below by `..`, when the way leads back to them, and must
    be the same by device and number.

    Args:
        root: an open directory; stays the caller's.
        above: how directories are opened again on the way up, READ or SEARCH.
    """

    __slots__ = ("_above", "_first", "_levels", "_most_open")

    def __init__(self, root: int, *, above: int = SEARCH, most_open: int = MOST_OPEN) -> None:
        fd = os.dup(root)
        try:
            self._levels = [_Level(fd, "", inode_of(fd), lists_processes=_lists_processes(fd))]
        except BaseException:
            os.close(fd)
            raise
        self._above = above | os.O_NOFOLLOW
        self._most_open = most_open
        self._first = 1  # the uppermost level but the root that is open

    @property
    def here(self) -> int:
        """The directory where it is, open."""
        return self._levels[-1].fd

    @property
    def root(self) -> int:
        """The directory where it began, open."""
        return self._levels[0].fd

    @property
    def inode(self) -> Inode:
        """Of the directory where it is."""
        return self._levels[-1].inode

    @property
    def depth(self) -> int:
        """How many levels below the root that is."""
        return len(self._levels) - 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names on the way."""
        return tuple(level.name for level in self._levels[1:])

    def name_at(self, depth: int) -> str:
        """Return the name of the directory on the way that is so many levels below the root, from 1."""
        return self._levels[depth].name

    @property
    def revisits(self) -> bool:
        """The directory where it is, is also on the way to itself: a link led back to it."""
        inode = self._levels[-1].inode
        return any(level.inode == inode for level in self._levels[:-1])

    def enter(self, name: str, *, flags: int = READ, follow: bool = False) -> os.stat_result:
        """Go into a directory of the one where it is; return its state.

        Raises:
            OSError: that is not possible; ENOTDIR or ELOOP for a link, EACCES for what is the daemon's own.
        """
        if follow:
            fd = open_path(name, flags, start=self.here)
        else:
            fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=self.here)
        try:
            st = os.fstat(fd)
            level = _Level(fd, name, (st.st_dev, st.st_ino), follow)
            above = self._levels[-1]
            # Within a file system that lists no processes nothing can be the daemon's own.
            if above.lists_processes or above.inode[0] != st.st_dev:
                refuse_own(fd)
                level.lists_processes = _lists_processes(fd)
        except BaseException:
            os.close(fd)
            raise
        self._levels.append(level)
        if len(self._levels) - self._first >= self._most_open:
            self._let_go(self._levels[self._first])
            self._first += 1
        return st

    def leave(self) -> str:
        """Go back up; return the name of the directory that was left.

        Raises:
            MovedError: the one above is somewhere else by now. Leave again: at the latest the root is found.
        """
        lowest = self._levels.pop()
        level = self._levels[-1]
        try:
            if level.fd < 0:
                level.fd = self._found_again(lowest.fd)
            self._first = min(self._first, max(len(self._levels) - 1, 1))
        finally:
            self._let_go(lowest)
        return lowest.name

    def close(self) -> None:
        """Close all descriptors."""
        for level in self._levels:
            self._let_go(level)

    def _let_go(self, level: _Level) -> None:
        if level.fd >= 0:
            fd, level.fd = level.fd, -1
            os.close(fd)

    def _found_again(self, below: int) -> int:
        """Open the last directory of the way again, from the one below it, or else from the root."""
        level = self._levels[-1]
        if below >= 0:
            with contextlib.suppress(OSError):
                fd = os.open("..", self._above, dir_fd=below)
                if inode_of(fd) == level.inode:
                    return fd
                os.close(fd)
        root_fd = self._from_root()
        if root_fd is None:
            raise MovedError(level.name)
        return root_fd

    def _from_root(self) -> int | None:
        """Open the last directory of the way by all names; None if they lead elsewhere by now."""
        fd = os.dup(self._levels[0].fd)
        for level in self._levels[1:]:
            flags = self._above & ~os.O_NOFOLLOW if level.followed else self._above
            try:
                below = os.open(level.name, flags, dir_fd=fd)
            except OSError:
                return None
            finally:
                os.close(fd)
            fd = below
        if inode_of(fd) != self._levels[-1].inode:
            os.close(fd)
            return None
        return fd


def _lists_processes(fd: int) -> bool:
    return file_system_type(fd) == PROC and is_proc_root(fd)


def inode_of(fd: int) -> Inode:
    """Return device and number of what is open."""
    st = os.fstat(fd)
    return st.st_dev, st.st_ino
