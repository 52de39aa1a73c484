"""The callers' key-value pairs, kept with a file as extended attributes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Mapping

from envd.errors import Code, EnvdError, NoRoomError

log = logging.getLogger("envd.filesystem")

PREFIX = "user.e2b."

_KEY_BYTES = 246  # 255 of an attribute's name, xattr(7), less the prefix
_TOTAL_BYTES = 4096
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS)


def check(metadata: Mapping[str, str]) -> None:
    """Check pairs a client gave.

    Raises:
        EnvdError: INVALID_ARGUMENT if they are too much, or not printable ASCII.
    """
    total = 0
    for key, value in metadata.items():
        if not key:
            raise EnvdError(Code.INVALID_ARGUMENT, "invalid metadata: a key is empty")
        if len(key.encode()) > _KEY_BYTES:
            raise EnvdError(Code.INVALID_ARGUMENT, f'invalid metadata: metadata key "{key}" exceeds {_KEY_BYTES} bytes')
        _check_printable(f'key "{key}"', key)
        _check_printable(f'value for key "{key}"', value)
        total += len(PREFIX) + len(key) + len(value)
    if total > _TOTAL_BYTES:
        raise EnvdError(
            Code.INVALID_ARGUMENT, f"invalid metadata: total metadata size {total} exceeds {_TOTAL_BYTES} bytes"
        )


def _check_printable(kind: str, text: str) -> None:
    for offset, byte in enumerate(text.encode()):
        if not 0x20 <= byte <= 0x7E:
            raise EnvdError(
                Code.INVALID_ARGUMENT,
                f"invalid metadata: metadata {kind} contains non-printable-ASCII byte 0x{byte:02x} at offset {offset}",
            )


def read(file: str | int, *, follow: bool = True) -> dict[str, str]:
    """Return the pairs of a file; none if they cannot be read. Those that are not UTF-8 are left out. Blocks."""
    try:
        names = os.listxattr(file, follow_symlinks=follow)
        if not names:
            return {}
        values = {name: os.getxattr(file, name, follow_symlinks=follow) for name in names if name.startswith(PREFIX)}
    except (OSError, ValueError):
        return {}
    found = {}
    for name, value in values.items():
        with contextlib.suppress(UnicodeError):
            name.encode()
            found[name.removeprefix(PREFIX)] = value.decode()
    return found


def replace(file: int, metadata: Mapping[str, str]) -> None:
    """Make these the only pairs of an open file. Where the file system keeps none, that is logged. Blocks.

    Raises:
        EnvdError: RESOURCE_EXHAUSTED if there is no room for them.
        OSError: anything else.
    """
    try:
        for name in os.listxattr(file):
            if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in metadata:
                os.removexattr(file, name)
        for key, value in metadata.items():
            os.setxattr(file, PREFIX + key, value.encode())
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE):
            raise NoRoomError(f"not enough space for file metadata: {os.strerror(exc.errno).lower()}") from exc
        if exc.errno not in _NOT_SUPPORTED:
            raise
        if metadata:
            log.warning("no metadata kept: the file system has no extended attributes", extra={"errno": exc.errno})
