"""Paths that only root can have laid: the only ones on which the daemon's own rights help a user out."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, closing, suppress

from envd.host.users import User

from .credentials import acting_as
from .resolving import PROC, Landing, resolve_by_steps
from .system_calls import file_system_type

# Made up by the kernel (statfs(2)): what is written there has effects, and nobody keeps files in them.
_MADE_UP = frozenset(
    {
        PROC,
        0x62656572,  # sysfs
        0x64626720,  # debugfs
        0x74726163,  # tracefs
        0x73636673,  # securityfs
        0x27E0EB,  # cgroup
        0x63677270,  # cgroup2
        0xCAFE4A11,  # bpf
        0x62656570,  # configfs
    }
)
_FUSE = 0x65735546
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def open_trusted_parent(path: str, user: User, *, follow: bool = True) -> Landing:
    """Resolve a path on which only root has a say, and whose directory the user can reach. Blocks.

    Every directory on the way belongs to root and is writable for nobody else, and so is where each link on the way
    lies; access control lists count, as their mask is in the mode. FUSE says of owners what it likes, so only a root
    file system may be one. To be called with the daemon's own rights.

    Returns:
        Its directory, and what is there; to be closed.

    Raises:
        PermissionError: it is no such path.
        OSError: it cannot be resolved.
    """
    with ExitStack() as undo:
        landing = resolve_by_steps(path, follow=follow, visit=_check)
        undo.callback(landing.close)
        if landing.name == ".":
            raise _untrusted()
        _check_reachable(path, landing, user, follow=follow)
        undo.pop_all()
    return landing


def _check(fd: int, st: os.stat_result) -> None:
    if st.st_uid != 0:
        raise _untrusted()
    if stat.S_ISLNK(st.st_mode):
        return  # it lies in a directory that was checked
    kind = file_system_type(fd)
    if st.st_mode & _WRITABLE or kind in _MADE_UP or (kind == _FUSE and st.st_dev != os.stat("/").st_dev):
        raise _untrusted()


def _check_reachable(path: str, landing: Landing, user: User, *, follow: bool) -> None:
    """Check that the user may search all directories on the way: help is for writing, not for looking."""
    with acting_as(user), closing(resolve_by_steps(path, follow=follow)) as user_landing:
        if not os.path.samestat(os.fstat(user_landing.directory), os.fstat(landing.directory)):
            raise _untrusted()


def is_readable(directory: int, name: str, user: User) -> bool:
    """Tell whether a user may read an entry of an open directory: a plain file, a directory, or any link. Blocks.

    What a user may not even read, nobody replaces, moves or removes on its behalf.
    """
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        return True
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return False
    with acting_as(user), suppress(OSError):
        os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))
        return True
    return False


def _untrusted() -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES))
