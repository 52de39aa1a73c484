"""The access token: Access checks calls, and signatures of file transfers, against it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Literal

from envd.errors import Code, EnvdError

REFUSED = "unauthorized access, please provide a valid access token or method signing if supported"

# By method and decoded path, exactly. These calls answer anyone, or check for themselves: files at signatures too,
# initialisation at the token in its message.
EXEMPT = frozenset(
    {
        ("GET", "/health"),
        ("GET", "/files"),
        ("HEAD", "/files"),
        ("POST", "/files"),
        ("GET", "/files/archive"),
        ("HEAD", "/files/archive"),
        ("POST", "/files/extract"),
        ("POST", "/init"),
        ("POST", "/system.System/Init"),
    }
)

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_INT64 = range(-(2**63), 2**63)


class Access:
    """The check of the access token, which it never shows. Without a token everything is allowed.

    Args:
        now: the time of day, in Unix seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._token: str | None = None

    @property
    def required(self) -> bool:
        """True if calls need the token."""
        return self._token is not None

    def replace(self, token: str | None) -> None:
        """Set the token every later call needs; None lets everyone in again."""
        self._token = token

    def is_token(self, text: str) -> bool:
        """Tell whether this is the token. False if there is none."""
        return self._is(_bytes(text))

    def allow(self, method: str, path: str, header: str | None) -> bool:
        """Check a call; return False if it is let in because anybody may make it.

        Args:
            method: of HTTP; POST for every RPC.
            path: decoded.
            header: X-Access-Token, each byte a character.

        Raises:
            EnvdError: UNAUTHENTICATED.
        """
        exempt = (method, path) in EXEMPT
        if self._token is None:
            return not exempt
        valid = header is not None and self._is_header(header)
        if not valid and not exempt:
            raise EnvdError(Code.UNAUTHENTICATED, REFUSED)
        return valid

    def allow_file(
        self,
        *,
        path: str | None,
        operation: Literal["read", "write"],
        username: str | None,
        header: str | None,
        signature: str | None,
        expiration: str | None,
    ) -> None:
        """Check a transfer: the header if there is one, else the signature. Before users and paths are looked at.

        Args:
            path: the query parameter as given, decoded but not resolved; None if absent. Bytes that are no UTF-8 are
                surrogate escapes.
            operation: `read` for GET and HEAD, `write` for POST.
            username: the query parameter as given.
            header: X-Access-Token, each byte a character.
            signature: the query parameter `signature`.
            expiration: the query parameter `signature_expiration`, the last second at which the signature is valid.

        Raises:
            EnvdError: INVALID_ARGUMENT if `expiration` is no integer, whatever else holds; UNAUTHENTICATED.
        """
        expires = None if expiration is None else _integer(expiration)
        if self._token is None:
            return
        if header:
            if not self._is_header(header):
                raise EnvdError(Code.UNAUTHENTICATED, "access token present in header but does not match")
            return
        if signature is None:
            raise EnvdError(Code.UNAUTHENTICATED, "missing signature query parameter")
        fields = [path or "", operation, username or "", self._token, *([] if expires is None else [str(expires)])]
        if not hmac.compare_digest(_bytes(signature), _signature(fields)):
            raise EnvdError(Code.UNAUTHENTICATED, "invalid signature")
        if expires is not None and expires < int(self._now()):
            raise EnvdError(Code.UNAUTHENTICATED, "signature is already expired")

    def _is_header(self, header: str) -> bool:
        return self._is(header.encode("latin-1", "backslashreplace"))

    def _is(self, data: bytes) -> bool:
        """Compare in a time that does not depend on the data."""
        return self._token is not None and hmac.compare_digest(data, _bytes(self._token))


def _signature(fields: list[str]) -> bytes:
    """Sign as SDKs do."""
    digest = hashlib.sha256(_bytes(":".join(fields))).digest()
    return b"v1_" + base64.b64encode(digest).rstrip(b"=")


def _integer(text: str) -> int:
    """Read an integer as strconv.ParseInt does.

    Raises:
        EnvdError: INVALID_ARGUMENT.
    """
    value = int(text) if _INTEGER.fullmatch(text) else None
    if value is None or value not in _INT64:
        excerpt = text[:32].encode("ascii", "backslashreplace").decode()
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"Invalid format for parameter signature_expiration: '{excerpt}' is no integer of Unix seconds",
        )
    return value


def _bytes(text: str) -> bytes:
    """Return text as it was sent."""
    return text.encode("utf-8", "surrogateescape")
