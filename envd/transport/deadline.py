"""The client's deadline in a request header."""

from __future__ import annotations

from collections.abc import Mapping

from envd.errors import Code, EnvdError

_MAX_DIGITS = 10
EXPIRED = "context deadline exceeded"


def timeout_from_headers(headers: Mapping[str, str]) -> float | None:
    """Return the seconds Connect-Timeout-Ms allows, None without the header.

    Accepts a fraction of zeros ("1500.0"), which older SDKs send.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is no number or too long; DEADLINE_EXCEEDED if it is zero or negative.
    """
    text = headers.get("connect-timeout-ms")
    if text is None:
        return None
    whole, _, fraction = text.strip().partition(".")
    if len(whole) > _MAX_DIGITS:
        raise EnvdError(Code.INVALID_ARGUMENT, f'parse timeout: "{whole[:40]}" has >{_MAX_DIGITS} digits')
    digits = whole.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or fraction.strip("0"):
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f'parse timeout: "{text[:40]}" is not a number: give milliseconds as a decimal integer',
        )
    milliseconds = int(whole)
    if milliseconds <= 0:
        raise EnvdError(Code.DEADLINE_EXCEEDED, EXPIRED)
    return milliseconds / 1000
