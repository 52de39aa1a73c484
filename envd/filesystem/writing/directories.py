"""Making the directories a path needs, and taking them away again."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from functools import partial

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import Landing, act, acting_as, help_instead, open_parent, open_path
from envd.host.users import User

_MODE = 0o755
_MOST_BYTES = 4095  # PATH_MAX without its NUL
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parent_of(path: str) -> str:
    """Return the path of the directory that a path names an entry of."""
    return os.path.dirname(path.rstrip("/")) or "/"


def make_parents(path: str, owner: User) -> tuple[str, ...]:
    """Make the missing directories above a path; as make_directories."""
    return make_directories(parent_of(path), owner)


def make_directories(path: str, owner: User) -> tuple[str, ...]:
    """Make a directory and the missing ones above it, mode 0755, all belonging to the owner. Blocks.

    Returns:
        What was made, the uppermost first, to undo it with remove_directories; nothing if the directory was there.

    Raises:
        EnvdError: INVALID_ARGUMENT if something on the way is no directory; nothing is left then.
    """
    made: list[str] = []
    with contextlib.ExitStack() as undo:
        undo.callback(remove_directories, made)
        try:
            here, missing = _lowest(path)
            try:
                for below in missing:
                    left, here = here, _made(here, below, owner, made)
                    os.close(left)
            finally:
                os.close(here)
        except OSError as exc:
            raise from_os_error(exc, doing=f"failed to create directory: mkdir {exc.filename or path}") from exc
        undo.pop_all()
    return tuple(made)


def make_directories_as(path: str, owner: User, *, helped: bool) -> tuple[str, ...]:
    """As make_directories, acting as the owner; if helped, with the daemon's rights where root's alone decide. Blocks.

    Only the first directory needs help: what is below it is the owner's to make.
    """
    try:
        with acting_as(owner):
            return make_directories(path, owner)
    except EnvdError as exc:
        if not helped:
            raise
        try:
            first = first_missing(path, owner) or path
        except (OSError, EnvdError):
            raise exc from exc.__cause__
        made = help_instead(owner, partial(_help_make, first, owner), first, exc)
    try:
        return made + make_directories_as(path, owner, helped=False)
    except EnvdError:
        remove_directories_as(made, owner, helped=True)
        raise


def remove_directories(made: Sequence[str]) -> None:
    """Take away what make_directories made, as far as it is still empty."""
    for path in reversed(made):
        with contextlib.suppress(OSError):  # somebody else uses it by now
            _remove(path)


def remove_directories_as(made: Sequence[str], owner: User, *, helped: bool) -> None:
    """Take away what make_directories_as made, as far as it is still empty."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            act(owner, partial(_remove, path), partial(_help_remove, owner) if helped else None, path)


def _lowest(path: str) -> tuple[int, list[str]]:
    """Open the lowest directory there is on a path, with O_PATH; return it and those to make, the uppermost first."""
    if len(os.fsencode(path)) > _MOST_BYTES:  # whoever makes it could not name it afterwards
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    missing: list[str] = []
    while True:
        try:
            fd = open_path(path, os.O_PATH)
        except (FileNotFoundError, NotADirectoryError):  # or something above is a file; the walk upwards finds it
            missing.append(path)
            path = parent_of(path)
            continue
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            return fd, missing[::-1]
        os.close(fd)
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a file: {path}")


def first_missing(path: str, owner: User) -> str | None:
    """Return the uppermost directory to be made for a path, as its owner sees it; None if none is. Blocks.

    Raises:
        OSError, EnvdError: something on the way is no directory, or cannot be looked at.
    """
    with acting_as(owner):
        here, missing = _lowest(path)
        os.close(here)
        return missing[0] if missing else None


def _made(directory: int, path: str, owner: User, made: list[str]) -> int:
    """Make a directory in an open one, and return it open."""
    name = os.path.basename(path.rstrip("/"))
    try:
        os.mkdir(name, _MODE, dir_fd=directory)  # `..` is there, too
    except FileExistsError:
        return _there(directory, name, path)  # made by another call meanwhile, or spelled with `..`
    except OSError as exc:
        exc.filename = path
        raise
    made.append(path)
    return _given(directory, name, owner)


def _there(directory: int, name: str, path: str) -> int:
    try:
        return open_path(name, _DIRECTORY, start=directory)
    except FileNotFoundError:
        raise EnvdError(
            Code.FAILED_PRECONDITION, f"failed to create directory: {path} is a symbolic link that leads nowhere"
        ) from None
    except NotADirectoryError:
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a file: {path}") from None


def _given(directory: int, name: str, owner: User) -> int:
    """Give a new directory to its owner, and return it open."""
    fd = os.open(name, _NEW, dir_fd=directory)
    try:
        st = os.fstat(fd)
        if (st.st_uid, st.st_gid) != (owner.uid, owner.gid):
            os.fchown(fd, owner.uid, owner.gid)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove(path: str) -> None:
    directory, name = open_parent(path)
    try:
        os.rmdir(name, dir_fd=directory)
    finally:
        os.close(directory)


def _help_make(path: str, owner: User, landing: Landing) -> tuple[str, ...]:
    try:
        os.mkdir(landing.name, _MODE, dir_fd=landing.directory)
        os.close(_given(landing.directory, landing.name, owner))
    except OSError as exc:
        raise from_os_error(exc, doing=f"failed to create directory: mkdir {path}") from exc
    return (path,)


def _help_remove(owner: User, landing: Landing) -> None:
    if landing.state is not None and landing.state.st_uid == owner.uid:
        os.rmdir(landing.name, dir_fd=landing.directory)
