"""From a request to what serves it: a preflight, a REST route, an RPC, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from envd.errors import EnvdError
from envd.rpc import MethodTable
from envd.web import Request, RouteTable

from . import connect, cors, status
from .auth import username_from_authorization
from .exchange import Exchange, Headers

_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Router:
    """Handles exchanges.

    Args:
        methods: the RPCs.
        routes: the REST routes.
        check_user: raises EnvdError if a user name the client gave is unknown.
        unary_s: how long a unary call may take where the client sets no deadline.
    """

    def __init__(
        self,
        methods: MethodTable,
        routes: RouteTable,
        check_user: Callable[[str], None],
        *,
        unary_s: float,
    ) -> None:
        self._methods = methods
        self._routes = routes
        self._check_user = check_user
        self._connect = connect.Connect(unary_s=unary_s)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        head = exchange.head
        if cors.is_preflight(head.method, head.headers):
            exchange.preflight(cors.preflight_headers(head.headers))
            return
        try:
            exchange.username = username_from_authorization(head.headers.get("authorization"))
            if exchange.username is not None:
                self._check_user(exchange.username)
        except EnvdError as exc:
            _refuse_user(exchange, exc)
            return
        method = self._methods.get(head.path)
        if method is not None:
            await self._connect.serve(exchange, method)
        else:
            await self._serve_route(exchange)

    async def _serve_route(self, exchange: Exchange) -> None:
        head = exchange.head
        routes = self._routes.get(head.path)
        if routes is None:
            exchange.respond(404, (_TEXT, _NOSNIFF), b"404 page not found\n")
            return
        route = routes.get(head.method)
        if route is None:
            exchange.respond(405, (("Allow", ", ".join(routes)),))
            return
        request = Request(head.method, head.path, head.query, head.headers, exchange.username)
        try:
            response = await route.handle(request)
        except EnvdError as exc:
            code = status.HTTP_STATUS[exc.code]
            body = status.error_json({"code": code, "message": exc.message}) + b"\n"
            exchange.respond(code, (("Content-Type", "application/json; charset=utf-8"), _NOSNIFF), body)
            return
        exchange.respond(response.status, response.headers, response.body)


def _refuse_user(exchange: Exchange, error: EnvdError) -> None:
    """Answer in the shape the client's protocol has for errors."""
    head = exchange.head
    content_type = head.headers.get("content-type", "")
    if head.method == "POST" and content_type.startswith("application/connect+"):
        headers: Headers = (("Content-Type", content_type),)
        exchange.respond(200, headers, connect.end_stream(error))
    else:
        headers = (("Content-Type", "application/json"),)
        exchange.respond(status.HTTP_STATUS[error.code], headers, status.error_json(status.error_fields(error)))
