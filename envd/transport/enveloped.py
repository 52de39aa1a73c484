"""Calls over HTTP/1.1 whose messages travel in frames both ways: Connect's streams, and all of gRPC-Web."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from google.protobuf.message import Message

from envd.errors import EnvdError
from envd.rpc import Call, Metadata, Method

from . import codec as codecs
from .calls import failure, limit_of, replies
from .codec import Codec
from .envelope import frames, read_payloads
from .exchange import Exchange, Headers


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The settings that a call's headers agreed on; `timeout_s` as in envd.rpc.Call."""

    codec: Codec
    request_gzip: bool = False
    response_gzip: bool = False
    timeout_s: float | None = None


class Dialect(Protocol):
    """The differences between framed protocols."""

    def terms(self, headers: dict[str, str], codec: Codec) -> Negotiated:
        """Read the request's headers.

        Raises:
            EnvdError: they ask for what is not served.
        """

    def headers(self, content_type: str, terms: Negotiated) -> Headers:
        """Return the response's headers."""

    def end(self, error: EnvdError | None, trailers: Headers, *, gzip: bool) -> bytes:
        """Return the last frame."""


async def serve(exchange: Exchange, method: Method, codec: Codec, dialect: Dialect, *, unary_s: float) -> None:
    """Answer one call."""
    response = Metadata()
    terms = Negotiated(codec)
    error: EnvdError | None
    try:
        terms = dialect.terms(exchange.head.headers, codec)
    except EnvdError as exc:
        error = exc
    else:
        limit_s = limit_of(method, terms.timeout_s, unary_s)
        exchange.may_begin(partial(_begin, terms=terms, dialect=dialect, response=response))
        error = await failure(_run(exchange, method, terms, dialect, response), limit_s, method.path)
    if not exchange.started:
        _begin(exchange, terms, dialect, response)
    exchange.finish([dialect.end(error, response.trailers, gzip=terms.response_gzip)])


def _begin(exchange: Exchange, terms: Negotiated, dialect: Dialect, response: Metadata) -> None:
    content_type = exchange.head.headers.get("content-type", "")
    exchange.begin(200, (*dialect.headers(content_type, terms), *response.headers))


async def _run(exchange: Exchange, method: Method, terms: Negotiated, dialect: Dialect, response: Metadata) -> None:
    exchange.body_may_idle = method.client_streaming
    marks = exchange.marks()
    call = Call(
        exchange.username,
        exchange.head.headers,
        terms.timeout_s,
        marks.acknowledged,
        marks.acknowledged,  # HTTP/1.1 says no more
        exchange.unread_at_most,
        response,
    )
    async with aclosing(replies(method, _requests(exchange, method, terms), call)) as answers:
        async for reply in answers:
            if not exchange.started:
                _begin(exchange, terms, dialect, response)
            payloads = codecs.encode_reply(terms.codec, reply)
            exchange.write(frames(payloads, gzip=terms.response_gzip), soon=isinstance(reply, Message))
            if not isinstance(reply, Message):
                marks.add(reply.position)
            await exchange.drain()


async def _requests(exchange: Exchange, method: Method, terms: Negotiated) -> AsyncGenerator[Any, None]:
    payloads = read_payloads(exchange.body, method.message_bytes, gzip=terms.request_gzip)
    async with aclosing(payloads):
        async for payload in payloads:
            yield await codecs.decode(terms.codec, payload, method)
