"""Links to files that need no token: docs/contract.md says what is signed."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Literal
from urllib.parse import urlencode

from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.paths import SandboxPath, raw_of


def signature(
    path: SandboxPath, operation: Literal["read", "write"], user: str | None, token: str, expiration: int | None = None
) -> str:
    """What stands for the token, for one path, operation and user.

    Args:
        expiration: Unix seconds, the last one at which it is valid; None for ever.
    """
    text = f":{operation}:{user or ''}:{token}"
    if expiration is not None:
        text += f":{expiration}"
    digest = hashlib.sha256(raw_of(path) + text.encode()).digest()
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


def file_url(
    base: str,
    path: SandboxPath,
    operation: Literal["read", "write"],
    user: str | None,
    token: str | None,
    expires_in_s: int | None,
) -> str:
    """A link to read or write one file; signed, if there is a token.

    Args:
        expires_in_s: seconds from now for which it is valid; None for ever.

    Raises:
        InvalidArgumentException: it is to expire, and there is no token to sign it with; or there is no URL.
    """
    if not base:
        raise InvalidArgumentException("a daemon on a unix socket has no URLs: use files.read and files.write")
    if expires_in_s is not None and token is None:
        raise InvalidArgumentException("a link can only expire if the sandbox has an access token")
    query: dict[str, str | bytes] = {"path": raw_of(path)} if path else {}
    if user is not None:
        query["username"] = user
    if token is not None:
        expiration = None if expires_in_s is None else int(time.time()) + expires_in_s
        query["signature"] = signature(path, operation, user, token, expiration)
        if expiration is not None:
            query["signature_expiration"] = str(expiration)
    return f"{base}/files" + (f"?{urlencode(query)}" if query else "")
