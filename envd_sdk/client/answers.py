"""Turns an answer of the control plane into a value, an exception, or another attempt. No network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from envd_sdk import exceptions as exc

ATTEMPTS = 4
_LONGEST_S = 10.0
_BUSY = (429, 503)
_GATEWAY = (502, 504)

_KINDS: dict[int, type[exc.SandboxException]] = {
    400: exc.InvalidArgumentException,
    401: exc.AuthenticationException,
    403: exc.PermissionDeniedException,
    404: exc.NotFoundException,
    409: exc.ConflictException,
    429: exc.RateLimitException,
    507: exc.NotEnoughSpaceException,
}


def delay_s(status: int, headers: Mapping[str, str], attempt: int, *, safe: bool) -> float | None:
    """Seconds until the next attempt; None if there is to be none.

    Args:
        attempt: how many there were.
        safe: the same again changes nothing.
    """
    # 429 and 503 say that nothing was done; a gateway cannot know.
    repeatable = status in _BUSY or (safe and status in _GATEWAY)
    if not repeatable or attempt >= ATTEMPTS or headers.get("should-retry", "").lower() == "false":
        return None
    try:
        after_s = float(headers.get("retry-after", ""))
    except ValueError:
        after_s = 0.2 * 2**attempt
    return min(max(after_s, 0.0), _LONGEST_S)


def failure(status: int, body: bytes, *, doing: str, about_sandbox: bool = False) -> exc.SandboxException:
    """The exception for an answer that is no success."""
    text = _message(body) or f"status {status}"
    if status == 404 and about_sandbox:
        return exc.SandboxNotFoundException(f"{doing}: {text}")
    kind = _KINDS.get(status)
    if kind is None:
        return exc.ApiException(f"{doing}: {text}", status=status)
    return kind(f"{doing}: {text}")


def _message(body: bytes) -> str:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        return body[:500].decode(errors="replace").strip()
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""
