"""Helping a user out with the daemon's own rights, where only root has a say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from envd.errors import EnvdError
from envd.host.users import User

from .credentials import acting_as, acts_as_itself
from .resolving import Landing
from .trusted import open_trusted_parent

T = TypeVar("T")

Help = Callable[[Landing], T]
"""Does with the daemon's own rights, in a directory that only root can change, what the user was not allowed to."""


def act(user: User, work: Callable[[], T], help_out: Help[T] | None, path: str, *, follow: bool = False) -> T:
    """Do something as a user; if that is not allowed, with the daemon's rights where `path` is root's alone. Blocks.

    Args:
        user: whose doing it is.
        work: what to do.
        help_out: the same with the daemon's rights; None: nobody helps.
        path: what it is about, absolute.
        follow: a link at its end.

    Raises:
        OSError, EnvdError: what the work failed with as the user, if it was not helped.
    """
    try:
        with acting_as(user):
            return work()
    except (PermissionError, EnvdError) as exc:
        if help_out is None:
            raise
        return help_instead(user, help_out, path, exc, follow=follow)


def help_instead(user: User, help_out: Help[T], path: str, exc: Exception, *, follow: bool = False) -> T:
    """Do with the daemon's rights what failed as the user, if that may be; as act. Blocks.

    Args:
        user: whose doing it was.
        help_out: what to do.
        path: what it is about, absolute.
        exc: what it failed with; raised again if nobody helps.
        follow: a link at the end of the path.
    """
    if not was_denied(exc) or acts_as_itself(user):
        raise exc
    try:
        landing = open_trusted_parent(path, user, follow=follow)
    except OSError:
        raise exc from exc.__cause__
    with closing(landing):
        return help_out(landing)


def was_denied(exc: BaseException) -> bool:
    """Tell whether something failed because it is not allowed."""
    return isinstance(exc, PermissionError) or isinstance(exc.__cause__, PermissionError)
