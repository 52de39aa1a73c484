"""Joins several files into one. Everything here blocks."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from envd.errors import NO_ROOM, Code, EnvdError, NoRoomError, from_os_error
from envd.host.users import User

from .access import acting_as, open_parent, open_path
from .reading import open_to_read
from .writing.in_place import number_of
from .writing.staging import StagedWrite, stage
from .writing.target import WriteOptions
from .writing.temporary import Temporaries

log = logging.getLogger("envd.filesystem")

_AT_ONCE = 64 * 1024 * 1024
_PIECE = 1024 * 1024
# copy_file_range(2): between file systems, or of files the kernel makes up.
_NOT_SO = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.ETXTBSY)


@dataclass(frozen=True, slots=True)
class Remaining:
    """A source that could not be removed, and why."""

    path: str
    why: str


def compose(
    sources: Sequence[str], destination: str, intent: WriteOptions, temporaries: Temporaries
) -> tuple[Remaining, ...]:
    """Put the sources' contents, in order, in the place of the destination; then remove them.

    Returns:
        The sources that are still there.

    Raises:
        EnvdError: nothing was changed. NOT_FOUND if a source is missing, INVALID_ARGUMENT if it is no regular file, or
            the destination.
    """
    with acting_as(intent.actor):
        for source in sources:
            _check(source, destination)
    try:
        with stage(destination, intent, temporaries) as staged:
            for source in sources:
                _append(source, staged, intent.actor)
            staged.commit()
    except (EnvdError, OSError) as exc:
        if number_of(exc) in NO_ROOM:
            raise NoRoomError("not enough disk space available") from exc
        if isinstance(exc, OSError):
            raise from_os_error(exc, doing=f"error composing {destination}") from exc
        raise
    with acting_as(intent.actor):
        return tuple(left for source in dict.fromkeys(sources) if (left := _remove(source)) is not None)


def _check(source: str, destination: str) -> None:
    same = EnvdError(Code.INVALID_ARGUMENT, f'source path "{source}" cannot be the same as destination')
    if source == destination:
        raise same
    try:
        found = _stat(source)
    except PermissionError as exc:
        raise from_os_error(exc, doing=f"error composing: stat {source}") from exc
    except OSError as exc:
        raise EnvdError(Code.NOT_FOUND, f"source file not found: {source}") from exc
    _check_regular(source, found)
    try:
        if os.path.samestat(found, _stat(destination)):
            raise same
    except OSError:
        pass  # nothing there yet; writing it says more if that is not all


def _stat(path: str) -> os.stat_result:
    fd = open_path(path, os.O_PATH)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _append(source: str, target: StagedWrite, user: User) -> None:
    with acting_as(user):
        fd = open_to_read(source, partial(_check_regular, source))
    try:
        while _copy(fd, target, user):
            pass
    finally:
        os.close(fd)


def _check_regular(path: str, st: os.stat_result) -> None:
    if not stat.S_ISREG(st.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"source path is not a regular file: {path}")


def _copy(source: int, target: StagedWrite, user: User) -> int:
    """Copy from a file's position to the end of the content; return how much, nothing at the end.

    Files of the kernel's judge who reads, and not who has opened; they look empty to copy_file_range.
    """
    try:
        copied = os.copy_file_range(source, target.fd, _AT_ONCE)
    except OSError as exc:
        if exc.errno not in (*_NOT_SO, *NO_ROOM):
            raise
        copied = 0
    if copied:
        return copied
    with acting_as(user):
        data = os.read(source, _PIECE)
    target.write(data)
    return len(data)


def _remove(source: str) -> Remaining | None:
    try:
        directory, name = open_parent(source)
        try:
            os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.warning("a source of a composed file stays", extra={"errno": exc.errno})
        return Remaining(source, os.strerror(exc.errno or 0).lower())
    return None
