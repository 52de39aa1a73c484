"""Overwriting a file that no other one can take the place of. Everything here blocks: for threads.

See docs/decisions/0022-overwriting-where-no-second-file-can-be.md.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from envd.errors import NO_ROOM, EnvdError
from envd.filesystem import copy_bytes

from .target import Target

NO_PLACE = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EOPNOTSUPP)
"""Why no file can be made, or take another one's place, in a directory whose files can be written all the same: it is
full, somebody else's, sticky, immutable, or one of the kernel's own."""

# File systems where what has its blocks is overwritten without others. One that writes everything to a new place, as
# btrfs, can run out of room in the midst of it.
_OVERWRITE_IN_PLACE = ("ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay", "vfat", "exfat")
_TARGET = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Finish:
    """Gives an open file what belongs to it beside its content.

    Attributes:
        before: what can fail, before anything is overwritten; is shown what the file was.
        after: what the writing of content undoes.
    """

    before: Callable[[int, os.stat_result], None]
    after: Callable[[int], None] | None = None


class Whole(Protocol):
    """A content all of which is there."""

    @property
    def fd(self) -> int:
        """Where it is; may be another one after `move`."""

    def move(self, why: OSError) -> bool:
        """Free the room it takes beside the file; return False if that cannot be."""


class Elsewhere:
    """A content in an open file that stays where it is, and the caller's."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def move(self, _: OSError) -> bool:
        """Return False: it takes no room there."""
        return False


def number_of(exc: BaseException) -> int | None:
    """Return the errno of a failure, also of one that was translated."""
    cause = exc if isinstance(exc, OSError) else exc.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def check_room(place: Target, why: Exception) -> None:
    """Check that content can be copied into a file though the disk is full, for overwriting takes no room there.

    Raises:
        Exception: `why`, if it does.
    """
    if number_of(why) in NO_ROOM and place.file_system() not in _OVERWRITE_IN_PLACE:
        raise why


def copy_into(
    place: Target, whole: Whole, finish: Finish, why: Exception | None = None, *, alone: bool = False
) -> None:
    """Copy a content into an existing file; there is room for it, or nothing is changed.

    `why` says why it is not put in the place of the file, at once. With `alone` it is copied only into a file that has
    no other names.

    Raises:
        OSError: it could not be; `why` instead, if that is given and it was for want of room.
    """
    try:
        target = _open(place, alone=alone)
    except OSError as exc:
        raise (why if why is not None and number_of(why) in NO_ROOM else exc) from exc
    try:
        if os.path.samestat(os.fstat(target), os.fstat(whole.fd)):
            return
        try:
            _prepare(target, whole.fd, finish)
        except OSError as exc:
            if exc.errno not in NO_ROOM or not whole.move(exc):
                raise
            _prepare(target, whole.fd, finish)  # what waited beside it had taken the room
        copy_bytes.overwrite(whole.fd, target)
        if finish.after is not None:
            finish.after(target)
    finally:
        os.close(target)


def _open(place: Target, *, alone: bool) -> int:
    target = os.open(place.name, _TARGET, dir_fd=place.directory)
    st = os.fstat(target)
    if not stat.S_ISREG(st.st_mode) or (alone and st.st_nlink != 1):
        os.close(target)
        raise OSError(errno.EBUSY, "another entry has the name by now", place.path)
    return target


def _prepare(target: int, source: int, finish: Finish) -> None:
    """Do all that can fail for want of room."""
    old, new = os.fstat(target), os.fstat(source).st_size
    try:
        copy_bytes.allocate(target, new)
        finish.before(target, old)
    except (OSError, EnvdError):
        if os.fstat(target).st_blocks != old.st_blocks:
            os.ftruncate(target, old.st_size)
        raise
