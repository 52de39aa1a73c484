"""What REST requests ask for, read from their bodies, queries and headers."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from envd.errors import Code, EnvdError
from envd.filesystem.caller import Caller
from envd.filesystem.uploads.part import Start
from envd.filesystem.uploads.state import LAST_OFFSET, UploadOptions, checked
from envd.services.filesystem.rest.addresses import percent_decoded
from envd.services.filesystem.rest.answers import from_json
from envd.web import Request

_HEX = re.compile("[0-9a-f]{64}")
_MODE = re.compile("0?[0-7]{1,4}")
_NUMBER = re.compile("[0-9]{1,19}")
_SHA256_BYTES = 32
_TYPE_NAMES = {str: "a string", int: "an integer", bool: "true or false", dict: "an object"}
_TERMS: dict[str, type] = {
    "path": str,
    "size": int,
    "sha256": str,
    "idempotency_key": str,
    "mode": str,
    "parents": bool,
    "atomic": bool,
    "if_match": str,
    "if_absent": bool,
    "metadata": dict,
    "sync": bool,
    "percent_encoded": bool,
}
_COMMIT: dict[str, type] = {"size": int, "sha256": str}


def terms_from(body: bytes, caller: Caller) -> UploadOptions:
    """Read the body of POST /files/uploads.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    fields = _fields(body, _TERMS)
    path = fields.pop("path", "")
    if not path:
        raise _invalid("path is required")
    if fields.pop("percent_encoded", False):
        path = percent_decoded(path)
    if "if_match" in fields and fields.get("if_absent"):
        raise _invalid("if_match and if_absent exclude each other")
    metadata = fields.get("metadata", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("the values of metadata are strings")
    mode = fields.pop("mode", None)
    if mode is not None and not _MODE.fullmatch(mode):
        raise _invalid(f'mode is an octal number in quotes, from "0" to "07777", not \'{mode[:80]}\'')
    fields["mode"] = None if mode is None else int(mode, 8)
    fields["sha256"] = _digest(fields.get("sha256"))
    key = fields.pop("idempotency_key", "")
    return checked(
        UploadOptions(caller.user.name, caller.resolve(path, doing="error resolving path"), key=key, **fields)
    )


def commit_from(body: bytes) -> tuple[int | None, str | None]:
    """Read the body of a commit, which may be empty: size, and SHA-256 in hexadecimal.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    fields = _fields(body, _COMMIT) if body.strip() else {}
    return fields.get("size"), _digest(fields.get("sha256"))


def _fields(body: bytes, known: Mapping[str, type]) -> dict[str, Any]:
    try:
        fields = from_json(body)
    except ValueError as exc:
        raise _invalid(str(exc)) from exc
    if not isinstance(fields, dict):
        raise _invalid("not an object")
    for name, value in fields.items():
        if name not in known:
            raise _invalid(f"there is no '{name[:80]}', only {', '.join(known)}")
        if not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
            raise _invalid(f"{name} has the wrong type: give {_TYPE_NAMES[known[name]]}")
    return fields


def start_from(request: Request) -> Start:
    """Return what a PUT announces of its part.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be read.
    """
    headers = request.headers
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise EnvdError(Code.INVALID_ARGUMENT, f"a part is sent as it is: unsupported Content-Encoding: {coding[:80]}")
    query = dict(parse_qsl(request.query))
    if "offset" not in query:
        raise EnvdError(Code.INVALID_ARGUMENT, "the query parameter offset is required: of the part's first byte")
    announced = headers.get("x-envd-sha256")
    sha256 = _content_digest(headers.get("content-digest")) if announced is None else _digest(announced.strip())
    return Start(number_in(query, "offset", 0), length=request.body.length, sha256=sha256)


def number_in(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a parameter that is an offset.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    text = query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or int(text) > LAST_OFFSET:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{name} is a number from 0 to {LAST_OFFSET}, not '{text[:80]}'")
    return int(text)


def _content_digest(header: str | None) -> str | None:
    """Return the SHA-256 in a Content-Digest, in hexadecimal. Source: RFC 9530, section 2; RFC 8941, section 3.2."""
    if header is None:
        return None
    for member in header.split(","):
        name, _, value = member.strip().partition("=")
        if name == "sha-256":
            return _from_base64(value)
    raise EnvdError(Code.INVALID_ARGUMENT, "Content-Digest has no sha-256, the only algorithm there is")


def _from_base64(value: str) -> str:
    text = value.strip()
    try:
        found = base64.b64decode(text.strip(":"), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != _SHA256_BYTES or not (text.startswith(":") and text.endswith(":")):
        raise EnvdError(Code.INVALID_ARGUMENT, "Content-Digest is sha-256=:BASE64:, with the base64 of 32 bytes")
    return found.hex()


def _digest(text: str | None) -> str | None:
    if text is None:
        return None
    if not _HEX.fullmatch(text.lower()):
        raise EnvdError(Code.INVALID_ARGUMENT, f"a SHA-256 is 64 hexadecimal digits, not '{text[:80]}'")
    return text.lower()


def _invalid(why: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"invalid request body: {why}")
