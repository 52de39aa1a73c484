"""Removes entries with everything below them."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from functools import partial

from envd.errors import Code, EnvdError, from_os_error
from envd.host.users import User

from .access import Landing, act, is_readable, open_below, open_parent
from .file_identity import FileIdentity
from .walking import READ, Descent, MovedError

_ROUNDS = 10
# What is no directory any more: it is gone, or was made a file or link.
_NO_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def remove(path: str, user: User, *, helped: bool = False) -> None:
    """Remove an entry and everything below it; a link, not what it leads to. What is not there is removed already.

    However deep it is: the way down and up goes by descriptors. Blocks.

    Args:
        path: absolute.
        user: as whom to act.
        helped: where the user may not write and only root has a say, the daemon's own rights help.

    Raises:
        EnvdError: something could not be removed; what could be, is gone.
    """
    if os.path.basename(path) in (".", ".."):
        raise EnvdError(Code.INVALID_ARGUMENT, f"error removing file or directory: RemoveAll {path}: invalid argument")
    if os.path.normpath(path).strip("/") == "":
        raise EnvdError(Code.INVALID_ARGUMENT, "error removing file or directory: / is not removed")
    try:
        remove_tree_as(path, user, helped=helped)
    except OSError as exc:
        raise from_os_error(exc, doing=f"error removing file or directory: unlinkat {path}") from exc


def remove_tree_as(path: str, user: User, *, helped: bool) -> None:
    """As remove, without its checks. Blocks.

    Raises:
        OSError: something could not be removed.
    """
    act(user, partial(remove_tree, path), partial(_help_remove, user) if helped else None, path)


def _help_remove(user: User, landing: Landing) -> None:
    if landing.state is None:
        return
    if not is_readable(landing.directory, landing.name, user):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), landing.name)
    remove_tree_in(landing.directory, landing.name)


def remove_tree(path: str) -> None:
    """As remove, without its checks.

    Raises:
        OSError: something could not be removed.
    """
    try:
        top, name = open_parent(path)
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
        _Removal(directory, name).run()


def remove_known(directory: int, name: str, identity: FileIdentity | None) -> None:
    """Remove a name in an open directory if it is that of a certain file or directory, then with all below it. Blocks.

    What is closed to its owner, as whom this thread acts, is opened. If nobody knows which one it is, only a file or an
    empty directory is removed.

    Raises:
        OSError: it could not be removed; ESTALE if it is another one, ENOTEMPTY if nobody knows.
    """
    if identity is None:
        if _unlink(name, directory):
            os.rmdir(name, dir_fd=directory)
        return
    fd = open_below(directory, name, os.O_PATH)
    try:
        if not identity.is_of(fd):
            raise OSError(errno.ESTALE, "another entry has the name by now", name)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            os.unlink(name, dir_fd=directory)
            return
        _permit(fd)
        _empty(fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def _empty(directory: int) -> None:
    """Remove everything in an open directory, whatever its name is by now."""
    readable = os.open(".", READ, dir_fd=directory)
    try:
        for name in _unlink_all(readable):
            _Removal(readable, name, forced=True).run()
    finally:
        os.close(readable)


def _permit(directory: int) -> None:
    """Let the owner of an open directory do everything in it, if this thread acts as that and is not root."""
    st, uid = os.fstat(directory), os.geteuid()
    if uid and uid == st.st_uid and st.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(f"/proc/self/fd/{directory}", stat.S_IRWXU)


@dataclass(slots=True)
class _RemovalLevel:
    """A directory between the top and the current one.

    Attributes:
        todo: directories in it that are still to be removed.
        rounds: how often the last of them was not empty in the end.
    """

    todo: list[str] = field(default_factory=list)
    rounds: int = 0


class _Removal:
    """Removes a directory in an open one: what is in each directory when the way leads into it, itself on the way up.

    A directory that things are removed from need not be readable, so those above are opened only to search them.

    Args:
        forced: what is closed to its owner is opened.
    """

    def __init__(self, top: int, name: str, *, forced: bool = False) -> None:
        self._descent = Descent(top)
        self._forced = forced
        self._levels = [_RemovalLevel([name])]

    def run(self) -> None:
        """Do all of it."""
        try:
            while self._levels[-1].todo or len(self._levels) > 1:
                if self._levels[-1].todo:
                    self._enter()
                else:
                    self._leave()
        finally:
            self._descent.close()

    def _enter(self) -> None:
        """Go down into the next directory and unlink what is in it."""
        todo = self._levels[-1].todo
        try:
            if self._forced:
                self._permit(todo[-1])
            self._descent.enter(todo[-1])
        except OSError as exc:
            if exc.errno not in _NO_DIRECTORY:
                raise
            _unlink(todo.pop(), self._descent.here)
            return
        self._levels.append(_RemovalLevel(_unlink_all(self._descent.here)))

    def _permit(self, name: str) -> None:
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descent.here)
        try:
            _permit(fd)
        finally:
            os.close(fd)

    def _leave(self) -> None:
        """Go up out of an empty directory and remove it."""
        self._levels.pop()
        name = self._descent.name_at(self._descent.depth)
        try:
            self._descent.leave()
        except MovedError as exc:
            raise OSError(errno.ENOTEMPTY, "a directory was moved away while it was removed", name) from exc
        level = self._levels[-1]
        try:
            os.rmdir(name, dir_fd=self._descent.here)
        except FileNotFoundError:
            pass
        except OSError as exc:
            level.rounds += 1
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST) or level.rounds > _ROUNDS:
                raise
            return  # something was added meanwhile: once more
        level.todo.pop()
        level.rounds = 0


def _unlink_all(directory: int) -> list[str]:
    """Unlink everything in a directory but directories; return those."""
    with os.scandir(directory) as scan:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan]
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
