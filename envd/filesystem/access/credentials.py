"""Acting as a user: one thread at a time, so the kernel checks what it does as that user's doing."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Final, TypeVar

from envd.host.users import User

from .system_calls import set_thread_group, set_thread_groups, set_thread_user

log = logging.getLogger("envd.filesystem")

T = TypeVar("T")

_Groups = ctypes.Array[ctypes.c_uint32]


def _array(groups: tuple[int, ...]) -> _Groups:
    return (ctypes.c_uint32 * len(groups))(*groups)


# The daemon's own, to come back to. They do not change while it runs.
_UID: Final = os.geteuid()
_GID: Final = os.getegid()
_GROUPS: Final = _array(tuple(os.getgroups()))

_groups_of = lru_cache(maxsize=256)(_array)


def acts_as_itself(user: User) -> bool:
    """Tell whether what is done for a user is done with the daemon's own rights: it is not root, or the user is."""
    return _UID != 0 or user.uid == 0


class acting_as:  # noqa: N801 - a context manager, used like a function
    """Within the block, the kernel takes what this thread does for the user's doing: ids, groups, no capability.

    Only this thread changes; the calls are made past the C library, which would change all. Blocks do not nest. A
    daemon without root, and root as the user, act with the daemon's own rights.

    The real and saved ids stay root's, so that no program of the user can signal or trace the daemon meanwhile. The
    process is not dumpable from then on, and a thread that does not come back to its own rights ends the process.

    Raises:
        OSError: the daemon is not allowed to become that user.
    """

    __slots__ = ("_changed", "_user")

    def __init__(self, user: User) -> None:
        self._user = user
        self._changed = not acts_as_itself(user)

    def __enter__(self) -> None:
        if not self._changed:
            return
        user = self._user
        try:
            set_thread_groups(_groups_of(user.groups))
            set_thread_group(user.gid)
            set_thread_user(user.uid)
        except BaseException:
            _come_back()
            raise

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._changed:
            _come_back()


def as_user(user: User, work: Callable[[], T]) -> Callable[[], T]:
    """Return work that acts as a user, for a thread."""

    def acting() -> T:
        with acting_as(user):
            return work()

    return work if acts_as_itself(user) else acting


def _come_back() -> None:
    """Take the daemon's own rights again, or end the process: no later call may run with somebody else's."""
    is_back = False
    try:
        set_thread_user(_UID)
        set_thread_group(_GID)
        set_thread_groups(_GROUPS)
        is_back = True
    finally:
        if not is_back:
            log.critical("a thread cannot take its own rights again: the server ends")
            os._exit(os.EX_OSERR)
