"""Maps a call's status to an exception: one table."""

from __future__ import annotations

from envd_sdk import exceptions as exc
from envd_sdk._wire.failure import WireError, WireTimeoutError

_TABLE: dict[str, type[exc.SandboxException]] = {
    "invalid_argument": exc.InvalidArgumentException,
    "out_of_range": exc.InvalidArgumentException,
    "unauthenticated": exc.AuthenticationException,
    "permission_denied": exc.PermissionDeniedException,
    "not_found": exc.NotFoundException,
    "already_exists": exc.ConflictException,
    "aborted": exc.ConflictException,
    "failed_precondition": exc.ConflictException,
    "unavailable": exc.SandboxUnreachableException,
    "canceled": exc.TimeoutException,
    "deadline_exceeded": exc.TimeoutException,
}

# How the daemon names a full disk or quota; other things run out, too.
_FULL = (
    "no space left on device",
    "not enough space",
    "not enough disk space",
    "disk quota exceeded",
    "quota exceeded",
    "file too large",
)


def exception_from(error: WireError, *, doing: str, about_files: bool = False) -> exc.SandboxException:
    """The exception for a failed call.

    Args:
        doing: what was attempted, as in "read /tmp/a".
        about_files: "not found" means a file.
    """
    kind = _TABLE.get(error.code, exc.SandboxException)
    text = error.details or error.code
    if isinstance(error, WireTimeoutError) or error.code == "deadline_exceeded":
        text = f"{text}; give a larger timeout or request_timeout, or 0 for none"
    elif error.lost:
        kind = exc.SandboxUnreachableException
        outcome = "" if error.never_sent else "; whether it was done is not known"
        text = f"the sandbox cannot be reached: {text}{outcome}"
    elif error.code == "unimplemented":
        text = f"the sandbox's daemon is too old for this: {text}"
    elif error.code == "resource_exhausted" and any(phrase in text.lower() for phrase in _FULL):
        kind = exc.NotEnoughSpaceException
    elif error.code == "not_found" and about_files:
        kind = exc.FileNotFoundException
    elif error.code == "failed_precondition" and ("fork" in text or "closed" in text):
        kind = exc.SandboxException
    exception = kind(f"{doing}: {text}")
    exception.code = error.code
    return exception
