"""A thread's own working directory: the short way to what has no system call for a name in an open directory.

xattr(7) takes whole paths only. Sources: unshare(2), CLONE_FS; path_resolution(7).
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from types import TracebackType

from .system_calls import unshare_working_directory

_FDS = "/proc/self/fd"


class _Thread(threading.local):
    """The state of this thread.

    Attributes:
        own: a working directory that no other thread has; None while it was not tried.
    """

    own: bool | None = None


_THIS = _Thread()


class naming_in:  # noqa: N801 - a context manager, used like a function
    """Within the block, paths that begin with what it yields name entries of an open directory, for this thread alone.

    The thread works in that directory meanwhile, with a working directory of its own, and in the root afterwards, so
    that an idle one keeps nothing mounted. Where the system does not let it have one, or it may not work there, the
    paths lead through /proc, which takes twice as long. Blocks do not nest. Links of the last name are the caller's
    to follow or not; the way to the directory cannot be bent either way.

    Args:
        directory: open; stays the caller's.
    """

    __slots__ = ("_directory", "_is_there")

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._is_there = False

    def __enter__(self) -> str:
        if _has_own():
            with suppress(OSError):  # it may be read, but not searched
                os.fchdir(self._directory)
                self._is_there = True
                return ""
        return f"{_FDS}/{self._directory}/"

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._is_there:
            with suppress(OSError):  # a root that this user may not search: then it stays until the next block
                os.chdir("/")


def _has_own() -> bool:
    own = _THIS.own
    if own is None:
        own = _THIS.own = unshare_working_directory()
    return own
