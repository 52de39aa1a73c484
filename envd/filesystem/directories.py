"""Making the directories a path needs, and taking them away again."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from envd.errors import Code, EnvdError, from_os_error
from envd.host.users import User

_MODE = 0o755


def make_parents(path: str, owner: User) -> tuple[str, ...]:
    """Make the missing directories above a path; as make_directories."""
    return make_directories(os.path.dirname(path.rstrip("/")) or "/", owner)


def make_directories(path: str, owner: User) -> tuple[str, ...]:
    """Make a directory and the missing ones above it, mode 0755, all belonging to the owner. Blocks.

    Returns:
        What was made, the uppermost first, to undo it with remove_directories; nothing if the directory was there.

    Raises:
        EnvdError: INVALID_ARGUMENT if something on the way is no directory; nothing is left then.
    """
    made: list[str] = []
    try:
        for missing in reversed(_missing(path)):
            _make(missing, owner, made)
    except OSError as exc:
        remove_directories(made)
        raise from_os_error(exc, doing=f"failed to create directory: mkdir {exc.filename or path}") from exc
    except EnvdError:
        remove_directories(made)
        raise
    return tuple(made)


def remove_directories(made: Sequence[str]) -> None:
    """Take away what make_directories made, as far as it is still empty."""
    for path in reversed(made):
        with contextlib.suppress(OSError):  # somebody else uses it by now
            os.rmdir(path)


def _missing(path: str) -> list[str]:
    """Return the directories to make, the lowest first."""
    missing: list[str] = []
    while not _is_directory(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/")) or "/"
    return missing


def _is_directory(path: str) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return False  # something above is a file; the walk upwards finds it
    if not stat.S_ISDIR(found.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a file: {path}")
    return True


def _make(path: str, owner: User, made: list[str]) -> None:
    try:
        os.mkdir(path, _MODE)
    except FileExistsError:
        if _is_directory(path):
            return  # made by another call meanwhile, or spelled with `..`
        raise EnvdError(
            Code.FAILED_PRECONDITION, f"failed to create directory: {path} is a symbolic link that leads nowhere"
        ) from None
    made.append(path)
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
