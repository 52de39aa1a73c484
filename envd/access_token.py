"""The access token as the operator gives it: in a file or in the environment, before anything listens.

Imported by the command, which is to start fast: so this imports little.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import MutableMapping

VARIABLE = "ENVD_ACCESS_TOKEN"
_BYTES = 64 * 1024
# What JSON must escape, and what a header cannot carry: such a token would lock everyone out.
_NO_TOKEN = re.compile(r'["\\\x00-\x1f\x7f]|\A | \Z|\A\Z')
_READABLE_BY_OTHERS = stat.S_IROTH | stat.S_IWOTH
RULE = (
    "give one or more characters, none of them a quote, a backslash or a control character, and no space at either end"
)


def is_valid(token: str) -> bool:
    """Tell whether this can be a token; see RULE."""
    return _NO_TOKEN.search(token) is None


def from_operator(path: str | None, environment: MutableMapping[str, str]) -> str | None:
    """Return the token, None if none was given; the variable is taken out of the environment.

    Args:
        path: of a file that holds it, with or without a newline behind it.
        environment: where VARIABLE may hold it instead.

    Raises:
        ValueError: there is none where one is to be, others may read the file, or no client could send it.
        OSError: the file cannot be read.
    """
    token = environment.pop(VARIABLE, None)
    if path is None:
        return None if token is None else _checked(token, VARIABLE)
    if token is not None:
        raise ValueError(f"{VARIABLE} and --access-token-file are both given: which is meant?")
    return _checked(_read(path), path)


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        about = os.fstat(fd)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISREG(about.st_mode) and about.st_mode & _READABLE_BY_OTHERS:
            raise ValueError(
                f"{path}: every user of this machine can read or write it (mode {stat.S_IMODE(about.st_mode):04o}): "
                f"chmod o-rw {path}"
            )
        with open(fd, "rb", closefd=False) as file:
            data = file.read(_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > _BYTES:
        raise ValueError(f"{path}: larger than {_BYTES} bytes, which no header can carry")
    return data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _checked(token: str, where: str) -> str:
    if not token:
        raise ValueError(f"{where} is empty: the daemon would let everyone in. Give a token, or leave the option out")
    try:
        token.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} is not UTF-8") from None
    if not is_valid(token):
        raise ValueError(f"{where} holds what cannot be an access token: {RULE}")
    return token


def to_memory(token: str) -> int:
    """Return a file in memory that holds it, for the processes that this one becomes and starts.

    So no command line shows it, and no environment.
    """
    fd = os.memfd_create("token", 0)
    os.write(fd, token.encode())
    return fd


def take(fd: int) -> str | None:
    """Return what is in the file in memory; None if it was wiped."""
    return os.pread(fd, _BYTES, 0).decode() or None


def wipe(fd: int) -> None:
    """Forget it: another place has it now."""
    os.ftruncate(fd, 0)
