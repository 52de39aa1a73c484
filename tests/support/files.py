"""Requests to /files as tests write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support.http1 import Response, exchange

OCTET = "application/octet-stream"
BOUNDARY = "a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def target(path: str | Path | None = None, route: str = "/files", **query: str) -> str:
    """The request target for a path; other parameters as given."""
    given = {**({} if path is None else {"path": str(path)}), **query}
    return f"{route}?{urlencode(given)}" if given else route


async def get(
    port: int, path: str | Path | None, *, headers: Mapping[str, str] | None = None, **query: str
) -> Response:
    return await exchange(port, "GET", target(path, **query), headers=headers)


async def head(port: int, path: str | Path | None, *, headers: Mapping[str, str] | None = None) -> Response:
    return await exchange(port, "HEAD", target(path), headers=headers)


async def put(
    port: int, path: str | Path | None, content: bytes, *, headers: Mapping[str, str] | None = None, **query: str
) -> Response:
    """Upload one content as it is."""
    return await exchange(
        port, "POST", target(path, **query), headers={"Content-Type": OCTET, **(headers or {})}, body=content
    )


def part(content: bytes, *, filename: str | None = "f", name: str = "file", more: str = "") -> bytes:
    """One part, from its boundary on."""
    named = "" if filename is None else f'; filename="{filename}"'
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{more}\r\n'.encode()
        + content
        + b"\r\n"
    )


def form(parts: Iterable[bytes]) -> bytes:
    """A whole multipart body."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def post_form(
    port: int,
    body: bytes,
    path: str | Path | None = None,
    *,
    content_type: str = FORM,
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> Response:
    return await exchange(
        port, "POST", target(path, **query), headers={"Content-Type": content_type, **(headers or {})}, body=body
    )


async def compose(port: int, body: object, *, headers: Mapping[str, str] | None = None) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
    return await exchange(port, "POST", "/files/compose", headers=headers, body=raw)


def answer(response: Response) -> Any:
    """What a good upload answered."""
    assert response.status == 200, (response.status, response.body)
    return json.loads(response.body)


def refusal(response: Response, status: int) -> str:
    """The message of a refused request."""
    assert response.status == status, (response.status, response.body)
    fields = json.loads(response.body)
    assert fields["code"] == status
    return str(fields["message"])
