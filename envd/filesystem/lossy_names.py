"""Names that are not UTF-8, and what texts make of them: U+FFFD in place of what cannot be decoded."""

from __future__ import annotations

import os

from envd.errors import Code, EnvdError, readable
from envd.host.users import User

from .access import acting_as

REPLACEMENT = "\ufffd"


def raw_of(name: str) -> bytes | None:
    """Return the bytes of a name that is not UTF-8; None if it is."""
    if name.isascii() or readable(name) is name:
        return None
    return os.fsencode(name)


def check_meant(path: str, user: User) -> None:
    """Check that a path of a user's text means what it says where it has U+FFFD, as far as the user may look. Blocks.

    Clients that were shown a name, and send back what they saw, must not be given another file, or make one.

    Raises:
        EnvdError: INVALID_ARGUMENT if there is no entry of just that name, but one that is shown so.
    """
    with acting_as(user):
        meant = _is_meant(path)
    if not meant:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"{path}: U+FFFD stands for bytes that are not UTF-8 in the name that is there: give them in raw_path, or "
            "percent-encoded over REST",
        )


def _is_meant(path: str) -> bool:
    above = "/"
    for part in path.split("/"):
        entry_path = os.path.join(above, part)
        if REPLACEMENT in part and not os.path.lexists(entry_path):
            return not _is_shown(above, part)
        above = entry_path
    return True


def _is_shown(directory: str, shown: str) -> bool:
    """Tell whether a directory has an entry that is shown by that name."""
    try:
        with os.scandir(directory) as scan:
            return any(readable(entry.name) == shown for entry in scan)
    except OSError:
        return False  # the call itself says what is wrong
