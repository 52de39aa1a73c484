"""What REST routes and the HTTP transport agree on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One REST request.

    Attributes:
        method: upper case.
        path: percent-decoded, without the query.
        query: the raw query string, without the question mark.
        headers: by lower-case name; several of one name are joined with ", ".
        username: from Basic authentication, None if the client gave none.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    username: str | None


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers in order, and the whole body."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one exact path."""

    method: str
    path: str
    handle: Callable[[Request], Awaitable[Response]]


RouteTable = Mapping[str, Mapping[str, Route]]
"""Routes by path, then by method."""


def table(routes: list[Route]) -> RouteTable:
    """Index routes; the transport answers 404 and 405 for what is not in it."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    return by_path
