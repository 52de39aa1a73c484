"""Acting as a user: one thread at a time, so the kernel checks what it does as that user's doing."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import TypeVar

from envd.host.thread_ids import (
    OWN_UID,
    set_thread_group,
    set_thread_groups,
    set_thread_user,
    take_own_ids,
    to_array,
)
from envd.host.users import User

T = TypeVar("T")

_groups_of = lru_cache(maxsize=256)(to_array)


def acts_as_itself(user: User) -> bool:
    """Tell whether what is done for a user is done with the daemon's own rights: it is not root, or the user is."""
    return OWN_UID != 0 or user.uid == 0


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
            take_own_ids()
            raise

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._changed:
            take_own_ids()


def as_user(user: User, work: Callable[[], T]) -> Callable[[], T]:
    """Return work that acts as a user, for a thread."""

    def acting() -> T:
        with acting_as(user):
            return work()

    return work if acts_as_itself(user) else acting
