"""Gate: checks the access token of a call, and the user it names."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping

_TOKEN_HEADER = "x-access-token"


class Gate:
    """Lets calls in, on every wire: first the token, then the user.

    Args:
        allow: raises EnvdError if a method (of HTTP; POST for RPCs) on a path needs another access token than the
            client's, None if it gave none; returns False if anybody may make the call.
        check_user: raises EnvdError if a user name the client gave is unknown.
    """

    def __init__(
        self, allow: Callable[[str, str, str | None], bool], check_user: Callable[[str], Awaitable[None]]
    ) -> None:
        self._allow = allow
        self._check_user = check_user

    def admit(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Check the access token; return False if the call is let in because it needs no token.

        Raises:
            EnvdError: UNAUTHENTICATED.
        """
        return self._allow(method, path, headers.get(_TOKEN_HEADER))

    async def identify(self, headers: Mapping[str, str]) -> str | None:
        """Return the user name a client gave, None if it gave none.

        Args:
            headers: by lower-case name; a gRPC client sends them as metadata.

        Raises:
            EnvdError: there is no such user.
        """
        username = username_from_authorization(headers.get("authorization"))
        if username is not None:
            await self._check_user(username)
        return username


def username_from_authorization(value: str | None) -> str | None:
    """Return the user name of Basic authentication; None where the header names no user.

    The password is ignored: the access token authorises, the name only selects a user. Another scheme, bad base64 and
    a value without a colon count as no name, as clients of the reference expect.
    """
    scheme, _, encoded = (value or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, _ = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return name if colon else None
