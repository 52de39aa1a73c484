"""REST routes about the machine and the daemon itself."""

from __future__ import annotations

from envd.web import Reply, Request, Response, Route

_HEALTHY = Response(204, (("Cache-Control", "no-store"), ("Content-Type", "")))


def routes() -> list[Route]:
    """Return the routes."""
    return [Route("GET", "/health", _health)]


async def _health(_: Request, __: Reply) -> Response:
    return _HEALTHY
