"""Tokens that say where the next page of a listing begins."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from envd.errors import Code, EnvdError

_FORMAT = b"1"
_OF_LISTING_BYTES = 8


def token_for(last: str, shown: str, depth: int) -> str:
    """Return the token of a page whose last entry has that path, in a listing of `shown` down to `depth`."""
    inside = os.fsencode(last)[len(os.fsencode(shown.rstrip("/"))) + 1 :]
    return base64.urlsafe_b64encode(_FORMAT + _listing(shown, depth) + inside).rstrip(b"=").decode()


def place_from(token: str, shown: str, depth: int) -> tuple[bytes, ...]:
    """Return the names that lead to the last entry of the page before; none for an empty token.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is no token, or that of another listing.
    """
    if not token:
        return ()
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    head = _FORMAT + _listing(shown, depth)
    if not data.startswith(head) or len(data) == len(head):
        raise EnvdError(Code.INVALID_ARGUMENT, "page_token is not one of a listing with this path and depth")
    return tuple(data[len(head) :].split(b"/"))


def _listing(shown: str, depth: int) -> bytes:
    text = b"%d/%b" % (depth, os.fsencode(shown))
    return hashlib.sha256(text).digest()[:_OF_LISTING_BYTES]
