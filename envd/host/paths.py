"""Paths as clients write them."""

from __future__ import annotations

import os.path

from envd.errors import Code, EnvdError

from .users import User


def resolve(path: str, user: User, default: str = "") -> str:
    """Return the absolute path a client means.

    Empty means `default`, else the user's home; `~` and `~/x` the home; a relative path starts at the home. An absolute
    path is returned as it is.

    Raises:
        EnvdError: INVALID_ARGUMENT for another user's home, or a NUL byte.
    """
    path = path or default
    if "\0" in path:
        raise EnvdError(Code.INVALID_ARGUMENT, "a path cannot contain a NUL byte")
    if path.startswith("~"):
        if path[1:2] not in ("", "/", "\\"):
            raise EnvdError(
                Code.INVALID_ARGUMENT,
                f"failed to expand path '{path}' for user '{user.name}': cannot expand user-specific home dir",
            )
        path = path[2:].lstrip("/")
    if path.startswith("/"):
        return path
    return os.path.normpath(os.path.join(user.home, path))
