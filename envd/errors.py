"""Expected failures: a code the client can act on and a message that says what was attempted and what to change."""

from __future__ import annotations

import enum
import errno
import os
from dataclasses import dataclass


class Code(enum.Enum):
    """Outcomes of a call other than success, by their names in the Connect and gRPC protocols."""

    CANCELED = "canceled"
    UNKNOWN = "unknown"
    INVALID_ARGUMENT = "invalid_argument"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    FAILED_PRECONDITION = "failed_precondition"
    ABORTED = "aborted"
    OUT_OF_RANGE = "out_of_range"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DATA_LOSS = "data_loss"
    UNAUTHENTICATED = "unauthenticated"


@dataclass(frozen=True, slots=True)
class Detail:
    """Something that code can read beside an error's message: a protobuf message by its full name, serialised."""

    type_name: str
    value: bytes


def readable(text: str) -> str:
    """Return a text that can be encoded: what stands for bytes that are not UTF-8, in names, becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass" if _has_others(text) else "surrogateescape").decode(
            errors="replace"
        )
    return text


def _has_others(text: str) -> bool:
    """Tell whether there are surrogates that stand for no byte: halves of pairs, from a client's JSON."""
    return any("\ud800" <= char <= "\udc7f" or "\udd00" <= char <= "\udfff" for char in text)


class EnvdError(Exception):
    """An expected failure. Message and details go to the client: they never hold secrets.

    The message may be made of names that are not UTF-8; it shows them with U+FFFD.
    """

    def __init__(self, code: Code, message: str, details: tuple[Detail, ...] = ()) -> None:
        message = readable(message)
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class NoRoomError(EnvdError):
    """The disk or a quota is full, or the file would be larger than it can be. What was there is unchanged."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, message)


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""The errno values that say so of a disk."""

_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ESRCH: Code.NOT_FOUND,
    errno.EEXIST: Code.ALREADY_EXISTS,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.EPERM: Code.PERMISSION_DENIED,
    errno.EROFS: Code.PERMISSION_DENIED,
    errno.EINVAL: Code.INVALID_ARGUMENT,
    errno.ENOTDIR: Code.INVALID_ARGUMENT,
    errno.EISDIR: Code.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: Code.INVALID_ARGUMENT,
    errno.E2BIG: Code.INVALID_ARGUMENT,
    errno.ELOOP: Code.FAILED_PRECONDITION,
    errno.ENOTEMPTY: Code.FAILED_PRECONDITION,
    errno.EBUSY: Code.FAILED_PRECONDITION,
    errno.ETXTBSY: Code.FAILED_PRECONDITION,
    errno.EFBIG: Code.RESOURCE_EXHAUSTED,
    errno.ENOSPC: Code.RESOURCE_EXHAUSTED,
    errno.EDQUOT: Code.RESOURCE_EXHAUSTED,
    errno.EMFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENFILE: Code.RESOURCE_EXHAUSTED,
    errno.ENOMEM: Code.RESOURCE_EXHAUSTED,
    errno.EAGAIN: Code.RESOURCE_EXHAUSTED,
    errno.ETIMEDOUT: Code.DEADLINE_EXCEEDED,
}


def code_from_errno(number: int) -> Code:
    """Return the code for an errno value; INTERNAL for one that names no client mistake and no known shortage."""
    return _CODES.get(number, Code.INTERNAL)


def from_os_error(exc: OSError, *, doing: str) -> EnvdError:
    """Translate at the domain's edge; `doing` says what was attempted, as in "stat /etc/hosts"."""
    number = exc.errno or 0
    if number in (*NO_ROOM, errno.EFBIG):
        return NoRoomError(f"{doing}: {os.strerror(number).lower()}")
    return EnvdError(code_from_errno(number), f"{doing}: {os.strerror(number).lower()}")
