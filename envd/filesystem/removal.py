"""Removing entries with everything below them."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A directory that things are removed from need not be readable: one may only be allowed to search and write it.
_ABOVE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ROUNDS = 10


def remove(path: str) -> None:
    """Remove an entry and everything below it; a link, not what it leads to. What is not there is removed already.

    However deep it is: the way down and up goes by descriptors, one at a time. Blocks.

    Raises:
        EnvdError: something could not be removed; what could be, is gone.
    """
    if os.path.basename(path) in (".", ".."):
        raise EnvdError(Code.INVALID_ARGUMENT, f"error removing file or directory: RemoveAll {path}: invalid argument")
    if os.path.normpath(path).strip("/") == "":
        raise EnvdError(Code.INVALID_ARGUMENT, "error removing file or directory: / is not removed")
    try:
        remove_tree(path)
    except OSError as exc:
        raise from_os_error(exc, doing=f"error removing file or directory: unlinkat {path}") from exc


def remove_tree(path: str) -> None:
    """As remove, without its checks.

    Raises:
        OSError: something could not be removed.
    """
    parent, name = os.path.split(path.rstrip("/"))
    try:
        top = os.open(parent or "/", _ABOVE)
    except FileNotFoundError:
        return
    try:
        remove_tree_in(top, name)
    finally:
        os.close(top)


def remove_tree_in(directory: int, name: str) -> None:
    """As remove_tree, of a name in an open directory, wherever that is by now.

    Raises:
        OSError: something could not be removed.
    """
    if _unlink(name, directory):
        _Descent(directory, name).run()


@dataclass(slots=True)
class _Level:
    """A directory on the way down.

    Attributes:
        name: in the one above.
        inode: device and number.
        todo: directories in it that are still to be removed.
        rounds: how often the last of them was not empty in the end.
    """

    name: str
    inode: tuple[int, int]
    todo: list[str] = field(default_factory=list)
    rounds: int = 0


class _Descent:
    """Removes a directory in an open one; holds one descriptor at a time, that of the directory it is in."""

    def __init__(self, top: int, name: str) -> None:
        self._here = os.dup(top)
        self._levels = [_Level("", _inode(top), [name])]

    def run(self) -> None:
        """Do all of it."""
        try:
            while self._levels[-1].todo or len(self._levels) > 1:
                if self._levels[-1].todo:
                    self._enter()
                else:
                    self._leave()
        finally:
            os.close(self._here)

    def _go(self, there: int) -> None:
        left, self._here = self._here, there
        os.close(left)

    def _enter(self) -> None:
        """Go down into the next directory and unlink what is in it."""
        level = self._levels[-1]
        name = level.todo[-1]
        try:
            below = os.open(name, _DIRECTORY, dir_fd=self._here)
        except (FileNotFoundError, NotADirectoryError):
            level.todo.pop()
            _unlink(name, self._here)
            return
        self._go(below)
        self._levels.append(_Level(name, _inode(below)))
        self._levels[-1].todo = _unlink_all(below)

    def _leave(self) -> None:
        """Go up out of an empty directory and remove it."""
        done = self._levels.pop()
        self._go(os.open("..", _ABOVE, dir_fd=self._here))
        level = self._levels[-1]
        if _inode(self._here) != level.inode:
            raise OSError(errno.ENOTEMPTY, "a directory was moved away while it was removed", done.name)
        try:
            os.rmdir(done.name, dir_fd=self._here)
        except FileNotFoundError:
            pass
        except OSError as exc:
            level.rounds += 1
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST) or level.rounds > _ROUNDS:
                raise
            return  # something was added meanwhile: once more
        level.todo.pop()
        level.rounds = 0


def _inode(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _unlink_all(directory: int) -> list[str]:
    """Unlink everything in a directory but directories; return those."""
    with os.scandir(directory) as scan:
        names = [(found.name, found.is_dir(follow_symlinks=False)) for found in scan]
    return [name for name, is_directory in names if is_directory or _unlink(name, directory)]


def _unlink(name: str, directory: int) -> bool:
    """Unlink an entry; return True if it is a directory, which is left."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except IsADirectoryError:
        return True
    return False
