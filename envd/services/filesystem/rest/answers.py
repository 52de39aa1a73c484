"""Reads JSON requests and writes JSON answers for the routes of files."""

from __future__ import annotations

import json
from urllib.parse import quote

from envd import json_slices
from envd.errors import Code, EnvdError, readable
from envd.filesystem.entries import name_of
from envd.filesystem.lossy_names import raw_of
from envd.web import Headers, Request, Response

AT_ONCE_BYTES = 16 * 1024
_ELEMENTS = 200_000
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_JSON = ("Content-Type", "application/json; charset=utf-8")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def refused(status: int, message: str, headers: Headers = ()) -> Response:
    """Return an error as clients know it, with a status that no code of an EnvdError has."""
    return Response(status, (_JSON, _NOSNIFF, *headers), to_json({"code": status, "message": message}) + b"\n")


def refused_in_text(status: int, message: str, headers: Headers = ()) -> Response:
    """Return an error in plain text."""
    return Response(status, (_TEXT, _NOSNIFF, *headers), f"{message}\n".encode())


def done(fields: object) -> Response:
    """Return what was done, as JSON."""
    return Response(200, (_JSON, _NOSNIFF), to_json(fields))


async def small_body(request: Request, most: int) -> bytes:
    """Read a body of at most so many bytes.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is larger.
    """
    pieces, remaining = [], most
    while piece := await request.body.read(remaining + 1):
        pieces.append(piece)
        remaining -= len(piece)
        if remaining < 0:
            raise EnvdError(Code.INVALID_ARGUMENT, f"invalid request body: it is larger than {most} bytes")
    return b"".join(pieces)


def from_json(body: bytes) -> object:
    """Decode a client's body; one of more than 16 KiB in a thread.

    Raises:
        ValueError: it is no JSON, is nested too deeply, has too many elements, or half of a surrogate pair in a string.
    """
    try:
        large = len(body) > AT_ONCE_BYTES
        fields: object = json_slices.decode(body.decode(), _ELEMENTS) if large else json.loads(body)
        json.dumps(fields, ensure_ascii=False).encode()
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
    return fields


def path_fields(path: str) -> dict[str, object]:
    """Return name and path of a file for an answer, and the path percent-encoded if it is not UTF-8."""
    fields: dict[str, object] = {"name": readable(name_of(path)), "path": readable(path)}
    raw = raw_of(path)
    if raw is not None:
        fields["encoded_path"] = quote(raw)
    return fields


def to_json(fields: object) -> bytes:
    """Encode for a body a browser may look at."""
    return json.dumps(fields, separators=(",", ":")).translate(_MARKUP).encode()
