"""The client's deadline in a request header."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envd.errors import Code, EnvdError

_MAX_DIGITS = 10
EXPIRED = "context deadline exceeded"
# Source: gRPC over HTTP2, "Requests", Timeout.
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_GRPC_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def timeout_from_headers(headers: Mapping[str, str]) -> float | None:
    """Return the seconds Connect-Timeout-Ms allows, None without the header.

    Accepts a fraction of zeros ("1500.0"), which older SDKs send.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is no number or too long; DEADLINE_EXCEEDED if it is zero or negative.
    """
    text = headers.get("connect-timeout-ms")
    if text is None:
        return None
    integer, _, fraction = text.strip().partition(".")
    if len(integer) > _MAX_DIGITS:
        raise EnvdError(Code.INVALID_ARGUMENT, f'parse timeout: "{integer[:40]}" has >{_MAX_DIGITS} digits')
    digits = integer.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or fraction.strip("0"):
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f'parse timeout: "{text[:40]}" is not a number: give milliseconds as a decimal integer',
        )
    milliseconds = int(integer)
    if milliseconds <= 0:
        raise EnvdError(Code.DEADLINE_EXCEEDED, EXPIRED)
    return milliseconds / 1000


def timeout_from_grpc(headers: Mapping[str, str]) -> float | None:
    """Return the seconds Grpc-Timeout allows, None without the header.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is malformed; DEADLINE_EXCEEDED if it is zero.
    """
    text = headers.get("grpc-timeout")
    if text is None:
        return None
    match = _GRPC_TIMEOUT.fullmatch(text.strip())
    if match is None:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f'parse timeout: "{text[:40]}" is not at most 8 digits and a unit (H, M, S, m, u or n), as in "1500m"',
        )
    seconds = int(match[1]) * _GRPC_UNITS_S[match[2]]
    if seconds == 0:
        raise EnvdError(Code.DEADLINE_EXCEEDED, EXPIRED)
    return seconds
