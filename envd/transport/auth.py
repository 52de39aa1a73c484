"""Who the client says it is."""

from __future__ import annotations

import base64
import binascii


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
