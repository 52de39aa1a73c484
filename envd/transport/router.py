"""Router: finds the handler of a request: a preflight, a REST route, an RPC, or nothing."""

from __future__ import annotations

from envd.errors import EnvdError
from envd.rpc import Method, MethodTable
from envd.web import RouteTable

from . import cors, grpc_web, rest
from .auth import Gate
from .codec import Codec
from .connect import Connect
from .exchange import Exchange
from .grpc_web import GrpcWeb
from .origins import Origins

_CHARSETS = ("", "charset=utf-8")


class Router:
    """Handles exchanges.

    Args:
        methods: the RPCs.
        routes: the REST routes.
        gate: checks token and user.
        origins: which web pages may call.
        unary_s: how long a unary call may take where the client sets no deadline.
    """

    def __init__(
        self,
        methods: MethodTable,
        routes: RouteTable,
        gate: Gate,
        origins: Origins,
        *,
        unary_s: float,
    ) -> None:
        self._methods = methods
        self._rest = rest.Rest(routes)
        self._gate = gate
        self._origins = origins
        self._connect = Connect(unary_s=unary_s)
        self._grpc_web = GrpcWeb(unary_s=unary_s)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        head = exchange.head
        try:
            self._origins.check(exchange.place, head.headers, head.authority)
        except EnvdError as exc:
            exchange.foreign = True
            self._refuse(exchange, exc)
            return
        if cors.is_preflight(head.method, head.headers):
            exchange.preflight(cors.preflight_headers(head.headers))
            return
        try:
            if self._gate.admit(head.method, head.path, head.headers):
                exchange.vouch()
        except EnvdError as exc:
            rest.refuse(exchange, exc)  # on every path, for published clients look at the status only
            return
        try:
            exchange.username = await self._gate.identify(head.headers)
        except EnvdError as exc:
            self._wire_of(exchange).refuse(exchange, exc)
            return
        method = self._methods.get(head.path)
        if method is not None:
            await self._serve_method(exchange, method)
        else:
            await self._rest.serve(exchange)

    def _refuse(self, exchange: Exchange, error: EnvdError) -> None:
        """Answer in the shape that the client of an RPC, or of REST, reads."""
        if exchange.head.method == "POST" and exchange.head.path in self._methods:
            self._wire_of(exchange).refuse(exchange, error)
        else:
            rest.refuse(exchange, error)

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


def _codec(content_type: str, types: dict[str, Codec]) -> Codec | None:
    name, _, parameters = content_type.partition(";")
    codec = types.get(name.strip().lower())
    if codec is not None and parameters.strip().lower() not in _CHARSETS:
        return None
    return codec


def _names(types: dict[str, Codec]) -> list[str]:
    return sorted([*types, *(f"{name}; charset=utf-8" for name in types if name.endswith("json"))])
