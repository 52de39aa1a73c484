"""gRPC-Web over HTTP/1.1: framed messages, and the status in a last frame of its own.

Source: gRPC-Web protocol, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md.
"""

from __future__ import annotations

from envd.errors import EnvdError
from envd.rpc import Method

from . import codec as codecs
from . import enveloped
from .codec import Codec
from .compression import answers_gzip, is_gzip
from .deadline import timeout_from_grpc
from .envelope import frame
from .enveloped import Negotiated
from .exchange import Exchange, Headers
from .grpc_status import trailers_of

PREFIX = "application/grpc-web"
_TYPES: dict[str, Codec] = {PREFIX: codecs.PROTO, f"{PREFIX}+proto": codecs.PROTO, f"{PREFIX}+json": codecs.JSON}
_TRAILERS = 0x80


class GrpcWeb:
    """Serves RPCs to gRPC-Web clients; `unary_s` as in envd.transport.connect."""

    def __init__(self, *, unary_s: float) -> None:
        self._unary_s = unary_s

    def types(self, _: Method) -> dict[str, Codec]:
        """Return the media types a method is served as."""
        return _TYPES

    async def serve(self, exchange: Exchange, method: Method, codec: Codec) -> None:
        """Answer one call."""
        await enveloped.serve(exchange, method, codec, _GrpcWebDialect(), unary_s=self._unary_s)

    def refuse(self, exchange: Exchange, error: EnvdError) -> None:
        """Answer a call that is not served."""
        content_type = exchange.head.headers.get("content-type", "")
        exchange.respond(200, (("Content-Type", content_type),), _GrpcWebDialect().end(error, (), gzip=False))


class _GrpcWebDialect:
    def terms(self, headers: dict[str, str], codec: Codec) -> Negotiated:
        request_gzip = is_gzip(headers.get("grpc-encoding"))
        response_gzip = answers_gzip(headers.get("grpc-accept-encoding"), request_gzip=request_gzip)
        return Negotiated(codec, request_gzip, response_gzip, timeout_from_grpc(headers))

    def headers(self, content_type: str, terms: Negotiated) -> Headers:
        response_headers = [("Content-Type", content_type), ("Grpc-Accept-Encoding", "gzip")]
        if terms.response_gzip:
            response_headers.append(("Grpc-Encoding", "gzip"))
        return response_headers

    def end(self, error: EnvdError | None, trailers: Headers, *, gzip: bool) -> bytes:  # noqa: ARG002 - never compressed
        lines = (f"{name}: {value}\r\n" for name, value in (*trailers_of(error), *trailers))
        return frame("".join(lines).encode("latin-1", "replace"), _TRAILERS)
