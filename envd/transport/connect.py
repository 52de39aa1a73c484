"""The Connect protocol: unary, server-streaming and client-streaming calls over HTTP/1.1.

Source: Connect protocol reference, https://connectrpc.com/docs/protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from envd.errors import Code, EnvdError
from envd.rpc import Call, Method

from . import codec as codecs
from .codec import Codec
from .compression import answers_gzip, deflate, inflate, is_gzip
from .deadline import EXPIRED, timeout_from_headers
from .envelope import END_STREAM, frame, frames, read_payloads
from .exchange import Exchange
from .status import HTTP_STATUS, error_fields, error_json

log = logging.getLogger("envd.transport")

_UNARY_TYPES: dict[str, Codec] = {"application/json": codecs.JSON, "application/proto": codecs.PROTO}
_STREAM_TYPES: dict[str, Codec] = {"application/connect+json": codecs.JSON, "application/connect+proto": codecs.PROTO}
_CHARSETS = ("", "charset=utf-8")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a stream's headers agreed on."""

    content_type: str
    codec: Codec
    request_gzip: bool
    response_gzip: bool


def end_stream(error: EnvdError | None, *, gzip: bool = False) -> bytes:
    """Return the last frame of a stream."""
    payload = b"{}" if error is None else error_json({"error": error_fields(error)})
    return frame(payload, END_STREAM, gzip=gzip)


class Connect:
    """Serves RPCs to Connect clients.

    Args:
        unary_s: how long a unary call may take where the client sets no deadline.
    """

    def __init__(self, *, unary_s: float) -> None:
        self._unary_s = unary_s

    async def serve(self, exchange: Exchange, method: Method) -> None:
        """Answer one call."""
        if exchange.head.method != "POST":
            exchange.respond(405, (("Allow", "POST"),))
            return
        streaming = method.client_streaming or method.server_streaming
        content_type = exchange.head.headers.get("content-type", "")
        types = _STREAM_TYPES if streaming else _UNARY_TYPES
        codec = _codec(content_type, types)
        if codec is None:
            exchange.respond(415, (("Accept-Post", ", ".join(_accepted(types))),))
        elif streaming:
            await self._serve_stream(exchange, method, content_type, codec)
        else:
            await self._serve_unary(exchange, method, content_type, codec)

    async def _serve_unary(self, exchange: Exchange, method: Method, content_type: str, codec: Codec) -> None:
        headers = exchange.head.headers
        try:
            body = await self._unary(exchange, method, codec)
        except EnvdError as exc:
            body = error_json(error_fields(exc))
            exchange.respond(HTTP_STATUS[exc.code], (("Content-Type", "application/json"),), body)
            return
        answer = [("Content-Type", content_type), ("Accept-Encoding", "gzip")]
        request_gzip = headers.get("content-encoding") == "gzip"
        if answers_gzip(headers.get("accept-encoding"), request_gzip=request_gzip):
            body = deflate(body)
            answer.append(("Content-Encoding", "gzip"))
        exchange.respond(200, answer, body)

    async def _unary(self, exchange: Exchange, method: Method, codec: Codec) -> bytes:
        headers = exchange.head.headers
        _check_version(exchange)
        timeout_s = timeout_from_headers(headers)
        gzip = is_gzip(headers.get("content-encoding"))
        limit = method.message_bytes
        _check_length(exchange, limit)
        data = await exchange.body.read_all(limit)
        request = codec.decode(inflate(data, limit) if gzip else data, method.request)
        call = Call(exchange.username, headers, timeout_s)
        response = await _within(timeout_s or self._unary_s, method.function(request, call))
        return codec.encode(response)

    async def _serve_stream(self, exchange: Exchange, method: Method, content_type: str, codec: Codec) -> None:
        headers = exchange.head.headers
        begun: list[_Terms] = []
        error: EnvdError | None = None
        try:
            request_gzip = is_gzip(headers.get("connect-content-encoding"))
            response_gzip = answers_gzip(headers.get("connect-accept-encoding"), request_gzip=request_gzip)
            terms = _Terms(content_type, codec, request_gzip, response_gzip)
            _check_version(exchange)
            timeout_s = timeout_from_headers(headers)
            _begin(exchange, terms)
            begun.append(terms)
            serve = self._client_stream if method.client_streaming else self._server_stream
            await _within(timeout_s, serve(exchange, method, terms, timeout_s))
        except EnvdError as exc:
            error = exc
        except Exception:
            log.exception("handler failed", extra={"path": method.path})
            error = EnvdError(Code.INTERNAL, "internal error")
        if not begun:
            _begin(exchange, _Terms(content_type, codec, request_gzip=False, response_gzip=False))
        exchange.finish([end_stream(error, gzip=bool(begun) and begun[0].response_gzip)])

    async def _server_stream(self, exchange: Exchange, method: Method, terms: _Terms, timeout_s: float | None) -> None:
        request = await self._only_message(exchange, method, terms)
        marks = exchange.marks()
        call = Call(exchange.username, exchange.head.headers, timeout_s, marks.acknowledged)
        async with aclosing(method.function(request, call)) as replies:
            async for reply in replies:
                payloads = codecs.encode_reply(terms.codec, reply)
                small = isinstance(reply, Message)
                exchange.write(frames(payloads, gzip=terms.response_gzip), soon=small)
                if not small:
                    marks.add(reply.position)
                await exchange.drain()

    async def _only_message(self, exchange: Exchange, method: Method, terms: _Terms) -> Message:
        """Return the one message of a server-streaming request."""
        messages: list[Message] = [message async for message in self._messages(exchange, method, terms, at_most=1)]
        if not messages:
            raise EnvdError(Code.UNIMPLEMENTED, "unary request has zero messages")
        return messages[0]

    async def _client_stream(self, exchange: Exchange, method: Method, terms: _Terms, timeout_s: float | None) -> None:
        exchange.body_may_idle = True
        call = Call(exchange.username, exchange.head.headers, timeout_s)
        async with aclosing(self._messages(exchange, method, terms)) as messages:
            response = await method.function(messages, call)
        exchange.write(frames([terms.codec.encode(response)], gzip=terms.response_gzip))

    async def _messages(
        self, exchange: Exchange, method: Method, terms: _Terms, *, at_most: int | None = None
    ) -> AsyncGenerator[Any, None]:
        count = 0
        payloads = read_payloads(exchange.body, method.message_bytes, gzip=terms.request_gzip)
        async with aclosing(payloads):
            async for payload in payloads:
                count += 1
                if at_most is not None and count > at_most:
                    raise EnvdError(Code.UNIMPLEMENTED, "unary request has multiple messages")
                yield terms.codec.decode(payload, method.request)


def _begin(exchange: Exchange, terms: _Terms) -> None:
    headers = [("Content-Type", terms.content_type), ("Connect-Accept-Encoding", "gzip")]
    if terms.response_gzip:
        headers.append(("Connect-Content-Encoding", "gzip"))
    exchange.begin(200, headers)


def _codec(content_type: str, types: dict[str, Codec]) -> Codec | None:
    name, _, parameters = content_type.partition(";")
    codec = types.get(name.strip().lower())
    if codec is not None and parameters.strip().lower() not in _CHARSETS:
        return None
    return codec


def _accepted(types: dict[str, Codec]) -> list[str]:
    return sorted([*types, *(f"{name}; charset=utf-8" for name in types if name.endswith("json"))])


def _check_version(exchange: Exchange) -> None:
    version = exchange.head.headers.get("connect-protocol-version", "1")
    if version != "1":
        raise EnvdError(Code.INVALID_ARGUMENT, f'Connect-Protocol-Version must be "1": got "{version}"')


def _check_length(exchange: Exchange, limit: int) -> None:
    """Refuse a body that says it is too large before it is sent."""
    length = exchange.head.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise EnvdError(Code.RESOURCE_EXHAUSTED, f"request body of {length} bytes is larger than {limit} bytes")


async def _within(timeout_s: float | None, work: Awaitable[_T]) -> _T:
    """Await the handler's work; the client's deadline ends it."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await work
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise EnvdError(Code.DEADLINE_EXCEEDED, EXPIRED) from exc
