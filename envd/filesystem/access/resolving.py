"""Resolves a path component by component, by descriptors: what openat2 does, and more that can be known on the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from .system_calls import file_system_type

PROC = 0x9FA0  # PROC_SUPER_MAGIC, statfs(2)

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_LINKS = 40  # path_resolution(7)

Visit = Callable[[int, os.stat_result], None]
"""Is shown each directory and link on the way, open with O_PATH; raises OSError to go no further."""


@dataclass(slots=True)
class Landing:
    """The entry a path leads to. Both descriptors are O_PATH and its own.

    Attributes:
        directory: that the entry lies in.
        name: in it; `.` if the path ends with the directory itself.
        fd: the entry; None if nothing has that name.
        state: of the entry.
    """

    directory: int
    name: str
    fd: int | None
    state: os.stat_result | None

    def close(self) -> None:
        """Close both."""
        os.close(self.directory)
        if self.fd is not None:
            os.close(self.fd)


def resolve_by_steps(path: str, *, follow: bool, visit: Visit | None = None, start: int | None = None) -> Landing:
    """Resolve a path; links of /proc that lead to open files, other roots and the like are refused. Blocks.

    Args:
        path: absolute, or relative to `start`.
        follow: a link at its end, too.
        visit: is shown each directory and followed link.
        start: an open directory; stays the caller's.

    Raises:
        OSError: EACCES for such a link; ENOENT if a directory on the way is missing (a missing entry
            at the end is none).
    """
    return _Walk(path, visit, start).run(follow=follow)


class _Walk:
    def __init__(self, path: str, visit: Visit | None, start: int | None) -> None:
        if "\0" in path:
            raise ValueError("embedded null byte")
        self._path = path
        self._visit = visit
        self._links = 0
        self._todo = _components(path)
        self._directory = os.open("/", _DIRECTORY) if start is None or path.startswith("/") else os.dup(start)

    def run(self, *, follow: bool) -> Landing:
        with ExitStack() as undo:
            undo.callback(lambda: os.close(self._directory))
            self._look(self._directory, os.fstat(self._directory))
            while self._todo:
                name = self._todo.pop()
                landing = self._step(name, follow=follow)
                if landing is not None:
                    undo.pop_all()
                    return landing
            fd = os.open(".", _DIRECTORY, dir_fd=self._directory)
            undo.pop_all()
            return Landing(self._directory, ".", fd, os.fstat(fd))

    def _step(self, name: str, *, follow: bool) -> Landing | None:
        """Take one component; return where the path leads once that is known."""
        if name in (".", ".."):
            self._go(os.open(name, _DIRECTORY, dir_fd=self._directory))
            return None
        try:
            fd = os.open(name, _STEP, dir_fd=self._directory)
        except FileNotFoundError:
            if self._todo:
                raise
            return Landing(self._directory, name, None, None)
        with ExitStack() as undo:
            undo.callback(os.close, fd)
            st = os.fstat(fd)
            if stat.S_ISLNK(st.st_mode) and (self._todo or follow):
                self._expand(fd, st)
                return None
            if not self._todo:
                undo.pop_all()
                return Landing(self._directory, name, fd, st)
            if not stat.S_ISDIR(st.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path)
            self._go(os.dup(fd))
        return None

    def _expand(self, fd: int, st: os.stat_result) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        if _is_magic(fd, self._directory):
            raise PermissionError(errno.EACCES, "a link of /proc into a process is not followed", self._path)
        self._look(fd, st)
        text = os.readlink("", dir_fd=fd)
        if text.startswith("/"):
            self._go(os.open("/", _DIRECTORY))
        self._todo += _components(text)

    def _go(self, directory: int) -> None:
        former, self._directory = self._directory, directory
        os.close(former)
        self._look(directory, os.fstat(directory))

    def _look(self, fd: int, st: os.stat_result) -> None:
        if self._visit is not None:
            self._visit(fd, st)


def _components(path: str) -> list[str]:
    """Return the parts of a path, the first one last; a slash at the end asks for a directory, as `.` does."""
    parts = [part for part in path.split("/") if part]
    if path.endswith("/"):
        parts.append(".")
    return parts[::-1]


def _is_magic(link: int, directory: int) -> bool:
    """Tell whether a link is one of those that lead where their text does not say: /proc/<pid>/fd/3, cwd, root, exe.

    In the root of a procfs there are only ordinary ones, as `self`; below it none but those.
    """
    return file_system_type(link) == PROC and not is_proc_root(directory)


def is_proc_root(directory: int) -> bool:
    """Tell whether an open directory of a procfs is its root: only that one has `self`."""
    with suppress(OSError):
        return stat.S_ISLNK(os.stat("self", dir_fd=directory, follow_symlinks=False).st_mode)
    return False
