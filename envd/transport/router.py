"""From a request to what serves it: a preflight, a REST route, an RPC, or nothing."""

from __future__ import annotations

from envd.errors import EnvdError
from envd.rpc import Method, MethodTable
from envd.web import Request, RouteTable

from . import cors, grpc_web, status
from .auth import Gate
from .codec import Codec
from .connect import Connect
from .exchange import Exchange
from .grpc_web import GrpcWeb

_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_CHARSETS = ("", "charset=utf-8")


class Router:
    """Handles exchanges.

    Args:
        methods: the RPCs.
        routes: the REST routes.
        gate: who may come in.
        unary_s: how long a unary call may take where the client sets no deadline.
    """

    def __init__(
        self,
        methods: MethodTable,
        routes: RouteTable,
        gate: Gate,
        *,
        unary_s: float,
    ) -> None:
        self._methods = methods
        self._routes = routes
        self._gate = gate
        self._connect = Connect(unary_s=unary_s)
        self._grpc_web = GrpcWeb(unary_s=unary_s)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        head = exchange.head
        if cors.is_preflight(head.method, head.headers):
            exchange.preflight(cors.preflight_headers(head.headers))
            return
        try:
            exchange.username = self._gate.identify(head.headers)
        except EnvdError as exc:
            self._wire_of(exchange).refuse(exchange, exc)
            return
        method = self._methods.get(head.path)
        if method is not None:
            await self._serve_method(exchange, method)
        else:
            await self._serve_route(exchange)

    def _wire_of(self, exchange: Exchange) -> Connect | GrpcWeb:
        head = exchange.head
        web = head.method == "POST" and head.headers.get("content-type", "").startswith(grpc_web.PREFIX)
        return self._grpc_web if web else self._connect

    async def _serve_method(self, exchange: Exchange, method: Method) -> None:
        if exchange.head.method != "POST":
            exchange.respond(405, (("Allow", "POST"),))
            return
        wire = self._wire_of(exchange)
        codec = _codec(exchange.head.headers.get("content-type", ""), wire.types(method))
        if codec is None:
            accepted = _names({**self._connect.types(method), **self._grpc_web.types(method)})
            exchange.respond(415, (("Accept-Post", ", ".join(accepted)),))
        else:
            await wire.serve(exchange, method, codec)

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


def _codec(content_type: str, types: dict[str, Codec]) -> Codec | None:
    name, _, parameters = content_type.partition(";")
    codec = types.get(name.strip().lower())
    if codec is not None and parameters.strip().lower() not in _CHARSETS:
        return None
    return codec


def _names(types: dict[str, Codec]) -> list[str]:
    return sorted([*types, *(f"{name}; charset=utf-8" for name in types if name.endswith("json"))])
