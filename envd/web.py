"""The interface between REST routes and the HTTP transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Headers = tuple[tuple[str, str], ...]

Settle = Callable[[Callable[[], int]], Awaitable[int]]
"""Calls what may block, in a thread. A caller that is cancelled waits for its end, unless that does not come."""


class Body(Protocol):
    """The body of a request, on its way from the client."""

    @property
    def length(self) -> int | None:
        """Its bytes in all, None if the client did not say."""

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end. Waits for the client.

        Raises:
            EnvdError: INVALID_ARGUMENT if it is cut short or malformed, DEADLINE_EXCEEDED if the client stops sending.
        """


class Reply(Protocol):
    """A response that is sent piece by piece: begin, then pieces. It ends when the handler returns.

    A handler that raises after `begin` cuts the response off, so that what was sent does not look whole.
    """

    def begin(self, status: int, headers: Headers, length: int | None = None) -> None:
        """Start it; `length` is the bytes of its body if they are known, and then exactly so many must follow."""

    async def write(self, data: bytes) -> None:
        """Send a piece; returns when the kernel has it."""

    async def send_file(self, fd: int, offset: int, count: int, settle: Settle) -> None:
        """Send `count` bytes of a regular file from `offset` on, by the kernel; other files cannot be sent so.

        `settle` reads it, in a thread.

        Raises:
            EnvdError: ABORTED if the file ends before, DEADLINE_EXCEEDED if the client stops reading.
        """


@dataclass(frozen=True, slots=True)
class Request:
    """One REST request.

    Attributes:
        method: upper case.
        path: percent-decoded, without the query.
        query: the raw query string, without the question mark.
        headers: by lower-case name; several of one name are joined with ", ".
        username: from Basic authentication, None if the client gave none.
        body: what comes behind the head.
        parameters: what stands in the path where its route has a name in braces, by that name.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    username: str | None
    body: Body
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response: status, headers in order, body; to HEAD only the head is sent.

    Attributes:
        length: what Content-Length says instead of the body's own length; for HEAD.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. A part of the path in braces, `{id}`, stands for any one part that is not empty.

    The handler returns a whole response, or None after it has sent one through the reply.
    """

    method: str
    path: str
    handle: Callable[[Request, Reply], Awaitable[Response | None]]


class RouteTable:
    """Routes by path, then by method."""

    def __init__(self, routes: list[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            if "{" in route.path:
                self._patterns.setdefault(tuple(route.path.split("/")), {})[route.method] = route
            else:
                self._exact.setdefault(route.path, {})[route.method] = route

    def find(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]] | None:
        """Return what is on a path, by method, and the parameters in it; exact paths come before those in braces."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        parts = path.split("/")
        for pattern, routes in self._patterns.items():
            parameters = _match(pattern, parts)
            if parameters is not None:
                return routes, parameters
        return None


def _match(pattern: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    parameters = {}
    for expected, part in zip(pattern, parts, strict=True):
        if expected.startswith("{") and part:
            parameters[expected[1:-1]] = part
        elif expected != part:
            return None
    return parameters


def table(routes: list[Route]) -> RouteTable:
    """Index routes; the transport answers 404 and 405 for what is not in it."""
    return RouteTable(routes)
