"""REST routes over an exchange."""

from __future__ import annotations

import logging

from envd.errors import EnvdError, NoRoomError
from envd.web import Headers, Request, RouteTable, Settle

from . import status
from .exchange import Exchange

log = logging.getLogger("envd.transport")

_INSUFFICIENT_STORAGE = 507
_ANYBODYS = ("/health", "/init")
_REFUSED = 400
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Rest:
    """Serves the route table."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        head = exchange.head
        entry = self._routes.find(head.path)
        if entry is None:
            exchange.respond(404, (_TEXT, _NOSNIFF), b"404 page not found\n")
            return
        routes, parameters = entry
        route = routes.get(head.method)
        if route is None:
            exchange.respond(405, (("Allow", ", ".join(routes)),))
            return
        request = Request(
            head.method, head.path, head.query, head.headers, exchange.username, exchange.body, parameters
        )
        if head.path not in _ANYBODYS:
            exchange.body.reading = exchange.vouch  # a client that must not is refused before
        try:
            response = await route.handle(request, _ExchangeReply(exchange))
        except EnvdError as exc:
            if exchange.started:
                log.warning("response cut off", extra={"path": head.path, "reason": exc.message})
            else:
                refuse(exchange, exc)
            return  # one that was begun is not finished: what was sent must not look whole
        if response is not None:
            exchange.respond(response.status, response.headers, response.body, length=response.length)
        else:
            exchange.finish(())


def refuse(exchange: Exchange, error: EnvdError) -> None:
    """Answer with an error as REST has it."""
    code = _INSUFFICIENT_STORAGE if isinstance(error, NoRoomError) else status.HTTP_STATUS[error.code]
    body = status.error_json({"code": code, "message": error.message}) + b"\n"
    exchange.respond(code, (("Content-Type", "application/json; charset=utf-8"), _NOSNIFF), body)


class _ExchangeReply:
    """A response in pieces. Implements envd.web.Reply."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def begin(self, status_code: int, headers: Headers, length: int | None = None) -> None:
        if status_code < _REFUSED:
            self._exchange.vouch()
        self._exchange.begin(status_code, headers, length=length)

    async def write(self, data: bytes) -> None:
        self._exchange.write((data,))
        await self._exchange.drain()

    async def send_file(self, fd: int, offset: int, count: int, settle: Settle) -> None:
        await self._exchange.send_file(fd, offset, count, settle)
