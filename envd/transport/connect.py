"""The Connect protocol: unary calls and streams over HTTP/1.1.

Source: Connect protocol reference, https://connectrpc.com/docs/protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from envd.errors import Code, EnvdError
from envd.rpc import Call, Metadata, Method

from . import codec as codecs
from . import enveloped
from .calls import failure, limit_of
from .codec import Codec
from .compression import answers_gzip, deflate, inflate, is_gzip
from .deadline import timeout_from_headers
from .envelope import END_STREAM, frame
from .enveloped import Negotiated
from .exchange import Exchange, Headers
from .status import HTTP_STATUS, error_fields, error_json

_UNARY_TYPES: dict[str, Codec] = {"application/json": codecs.JSON, "application/proto": codecs.PROTO}
_STREAM_TYPES: dict[str, Codec] = {"application/connect+json": codecs.JSON, "application/connect+proto": codecs.PROTO}
_LOOP_BYTES = 64 * 1024
_AT_ONCE_BYTES = 256 * 1024


class Connect:
    """Serves RPCs to Connect clients.

    Args:
        unary_s: how long a unary call may take where the client sets no deadline.
    """

    def __init__(self, *, unary_s: float) -> None:
        self._unary_s = unary_s

    def types(self, method: Method) -> dict[str, Codec]:
        """Return the media types a method is served as."""
        return _STREAM_TYPES if method.client_streaming or method.server_streaming else _UNARY_TYPES

    async def serve(self, exchange: Exchange, method: Method, codec: Codec) -> None:
        """Answer one call."""
        if method.client_streaming or method.server_streaming:
            await enveloped.serve(exchange, method, codec, _ConnectDialect(), unary_s=self._unary_s)
        else:
            await self._serve_unary(exchange, method, codec)

    def refuse(self, exchange: Exchange, error: EnvdError) -> None:
        """Answer a call that is not served, in the shape its media type has for errors."""
        content_type = exchange.head.headers.get("content-type", "")
        if exchange.head.method == "POST" and content_type.startswith("application/connect+"):
            exchange.respond(200, (("Content-Type", content_type),), _ConnectDialect().end(error, ()))
        else:
            _respond_error(exchange, error)

    async def _serve_unary(self, exchange: Exchange, method: Method, codec: Codec) -> None:
        headers, response = exchange.head.headers, Metadata()
        try:
            timeout_s = timeout_from_headers(headers)
        except EnvdError as exc:
            _respond_error(exchange, exc)
            return
        answer: list[bytes] = []
        call = Call(exchange.username, headers, timeout_s, response=response)
        work = _unary(exchange, method, codec, call, answer)
        error = await failure(work, limit_of(method, timeout_s, self._unary_s), method.path)
        extra = (*response.headers, *((f"Trailer-{name}", value) for name, value in response.trailers))
        if error is not None:
            _respond_error(exchange, error, extra)
            return
        response_headers = [("Content-Type", headers["content-type"]), ("Accept-Encoding", "gzip"), *extra]
        (body,) = answer
        request_gzip = headers.get("content-encoding") == "gzip"
        if answers_gzip(headers.get("accept-encoding"), request_gzip=request_gzip):
            body = await _off_loop(deflate, body)
            response_headers.append(("Content-Encoding", "gzip"))
        if len(body) <= _AT_ONCE_BYTES:
            exchange.respond(200, response_headers, body)
        else:
            await _respond_in_slices(exchange, response_headers, body)


async def _respond_in_slices(exchange: Exchange, headers: Headers, body: bytes) -> None:
    """Send a large response at the pace its client takes it: buffered as a whole it would be copied, on the loop."""
    exchange.begin(200, headers, length=len(body))
    view = memoryview(body)
    for offset in range(0, len(body), _AT_ONCE_BYTES):
        exchange.write([view[offset : offset + _AT_ONCE_BYTES]])
        await exchange.drain()
    exchange.finish(())


async def _unary(exchange: Exchange, method: Method, codec: Codec, call: Call, answer: list[bytes]) -> None:
    """Add the encoded response to `answer`."""
    headers = exchange.head.headers
    _check_version(headers)
    gzip = is_gzip(headers.get("content-encoding"))
    limit = method.message_bytes
    _check_length(headers, limit)
    data = await exchange.body.read_all(limit)
    if gzip:
        data = await _off_loop(inflate, data, limit)
    reply = await method.function(await codecs.decode(codec, data, method), call)
    answer.extend(codecs.encode_reply(codec, reply))


async def _off_loop(work: Callable[..., bytes], data: bytes, *more: int) -> bytes:
    """Compress or decompress; much of it in a thread, for it would hold up every other client."""
    if len(data) <= _LOOP_BYTES:
        return work(data, *more)
    return await asyncio.to_thread(work, data, *more)


def _respond_error(exchange: Exchange, error: EnvdError, extra: Headers = ()) -> None:
    headers = (("Content-Type", "application/json"), *extra)
    exchange.respond(HTTP_STATUS[error.code], headers, error_json(error_fields(error)))


class _ConnectDialect:
    """The dialect of Connect's streams."""

    def terms(self, headers: dict[str, str], codec: Codec) -> Negotiated:
        request_gzip = is_gzip(headers.get("connect-content-encoding"))
        response_gzip = answers_gzip(headers.get("connect-accept-encoding"), request_gzip=request_gzip)
        _check_version(headers)
        return Negotiated(codec, request_gzip, response_gzip, timeout_from_headers(headers))

    def headers(self, content_type: str, terms: Negotiated) -> Headers:
        response_headers = [("Content-Type", content_type), ("Connect-Accept-Encoding", "gzip")]
        if terms.response_gzip:
            response_headers.append(("Connect-Content-Encoding", "gzip"))
        return response_headers

    def end(self, error: EnvdError | None, trailers: Headers, *, gzip: bool = False) -> bytes:
        fields: dict[str, object] = {}
        if error is not None:
            fields["error"] = error_fields(error)
        if trailers:
            fields["metadata"] = _grouped(trailers)
        return frame(error_json(fields), END_STREAM, gzip=gzip)


def _grouped(trailers: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in trailers:
        grouped.setdefault(name, []).append(value)
    return grouped


def _check_version(headers: dict[str, str]) -> None:
    version = headers.get("connect-protocol-version", "1")
    if version != "1":
        raise EnvdError(Code.INVALID_ARGUMENT, f'Connect-Protocol-Version must be "1": got "{version}"')


def _check_length(headers: dict[str, str], limit: int) -> None:
    """Refuse a body that says it is too large before it is sent."""
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise EnvdError(Code.RESOURCE_EXHAUSTED, f"request body of {length} bytes is larger than {limit} bytes")
