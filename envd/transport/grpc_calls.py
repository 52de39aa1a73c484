"""Calls as grpc.aio hands them over: bytes in, bytes out, and a context of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.message import Message

from envd.errors import Code, EnvdError
from envd.rpc import Call, Metadata, Method, Reply

from . import codec as codecs
from .ack_tracking import Marks, StreamAckTracker
from .auth import Gate
from .calls import failure, limit_of, replies
from .deadline import EXPIRED
from .grpc_status import DETAILS, details_of
from .http2 import CALL_HEADER, Streams

_PREFIX_BYTES = 5  # before each message, on the wire

Pairs = tuple[tuple[str, str | bytes], ...]
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class GrpcNegotiated:
    """grpcio's own words: its status for each code, and what it raises.

    Attributes:
        broken: where something cannot be sent any more.
        aborted: where a call was ended with an error.
    """

    statuses: Mapping[Code, Any]
    broken: type[Exception]
    aborted: type[Exception]


class GrpcCalls:
    """Serves RPCs to native gRPC clients.

    Args:
        streams: knows the calls that came through our connections; others are refused.
        unary_s: how long a unary call may take where the client sets no deadline, in seconds.
        body_idle_s: how long the message of a call that has only one may take.
        terms: grpcio's own words.
    """

    def __init__(
        self,
        gate: Gate,
        streams: Streams,
        *,
        unary_s: float,
        body_idle_s: float,
        terms: GrpcNegotiated,
    ) -> None:
        self._gate = gate
        self._streams = streams
        self._unary_s = unary_s
        self._body_idle_s = body_idle_s
        self._terms = terms

    async def answer(self, method: Method, received: AsyncIterable[bytes], context: Any) -> bytes:
        """Serve a call that is answered with one message."""
        answers: list[bytes] = []

        async def keep(payload: bytes) -> None:
            answers.append(payload)

        await self._serve(method, received, context, keep)
        return answers[0] if answers else b""  # of a call that failed nothing is sent

    async def stream(self, method: Method, received: AsyncIterable[bytes], context: Any) -> None:
        """Serve a call that is answered with a stream."""
        await self._serve(method, received, context, context.write)

    async def _serve(self, method: Method, received: AsyncIterable[bytes], context: Any, write: Write) -> None:
        sender = _Sender(context, write, self._terms.broken)
        limit_s = limit_of(method, context.time_remaining(), self._unary_s)
        error = await failure(self._run(method, received, context, sender), limit_s, method.path)
        trailers = _pairs(sender.response.trailers)
        await sender.begin()
        if error is None:
            context.set_trailing_metadata(trailers)
            return
        if error.details:
            trailers = (*trailers, (DETAILS, details_of(error)))
        await sender.hand_over(self._abort(context, error, trailers))

    async def _abort(self, context: Any, error: EnvdError, trailers: Pairs) -> None:
        try:
            await context.abort(self._terms.statuses[error.code], error.message, trailers)
        except self._terms.aborted as exc:
            # The library raises it once more, behind us. What it was raised in would stay in memory with it.
            exc.__traceback__ = None

    async def _run(self, method: Method, received: AsyncIterable[bytes], context: Any, sender: _Sender) -> None:
        headers = headers_of(context.invocation_metadata())
        sender.acks = self._acks(headers)
        username = await self._gate.identify(headers)
        timeout_s = context.time_remaining()
        if timeout_s is not None and timeout_s <= 0:
            raise EnvdError(Code.DEADLINE_EXCEEDED, EXPIRED)
        marks = Marks(sender.acks)
        call = Call(username, headers, timeout_s, marks.acknowledged, marks.consumed, response=sender.response)
        async with aclosing(replies(method, self._requests(method, received, sender.acks), call)) as answers:
            async for reply in answers:
                await sender.send(reply)
                if not isinstance(reply, Message):
                    marks.add(reply.position)

    def _acks(self, headers: dict[str, str]) -> StreamAckTracker:
        """Return what counts the call's bytes on their way to the client."""
        name = headers.pop(CALL_HEADER, "").rpartition(", ")[2]  # the last one is ours
        if not self._streams.is_ours(name):
            raise EnvdError(Code.PERMISSION_DENIED, "this socket is private: call the daemon's own address")
        return self._streams.claim(name) or StreamAckTracker()

    async def _requests(
        self, method: Method, received: AsyncIterable[bytes], acks: StreamAckTracker
    ) -> AsyncGenerator[Any, None]:
        idle_s = None if method.client_streaming else self._body_idle_s
        consumed_bytes = 0
        # Closed here: one that is not at its end refers to itself, and to the last message.
        async with aclosing(cast("AsyncGenerator[bytes, None]", aiter(received))) as messages:
            while (data := await _next(messages, acks, idle_s)) is not None:
                if len(data) > method.message_bytes:
                    text = f"message of {len(data)} bytes is larger than {method.message_bytes} bytes"
                    raise EnvdError(Code.RESOURCE_EXHAUSTED, text)
                yield await codecs.decode(codecs.PROTO, data, method)
                consumed_bytes += _PREFIX_BYTES + len(data)
                if acks.complete and acks.received == consumed_bytes:
                    return  # that was all: the library would say so one round through its threads later
        if method.client_streaming and not acks.complete:
            raise asyncio.CancelledError  # the library takes a reset for an end, and notices it only later


async def _next(messages: AsyncIterator[bytes], acks: StreamAckTracker, idle_s: float | None) -> bytes | None:
    """Return the next message, None behind the last one; silence of `idle_s` seconds ends the wait."""
    try:
        async with asyncio.timeout(idle_s) as timeout:
            if idle_s is not None:
                acks.on_received = functools.partial(_wait_on, timeout, idle_s)
            try:
                return await anext(messages)
            finally:
                acks.on_received = _nothing
    except StopAsyncIteration:
        return None
    except TimeoutError as exc:
        raise EnvdError(Code.DEADLINE_EXCEEDED, f"no byte of the request body for {idle_s:g} s") from exc


def _wait_on(timeout: asyncio.Timeout, idle_s: float) -> None:
    """Begin a wait anew: something has come."""
    if not timeout.expired():
        timeout.reschedule(asyncio.get_running_loop().time() + idle_s)


def _nothing() -> None:
    """Ignore bytes: no handler waits for a message."""


class _Sender:
    """One call's way to its client; whatever is sent to one that is gone cancels the call."""

    def __init__(self, context: Any, write: Write, broken: type[Exception]) -> None:
        self.response = Metadata()
        self.acks = StreamAckTracker()
        self._context = context
        self._write = write
        self._broken = broken
        self._begun = False

    async def begin(self) -> None:
        """Send the headers, unless they have gone out already; without any the library sends its own."""
        if not self._begun and self.response.headers:
            await self.hand_over(self._context.send_initial_metadata(_pairs(self.response.headers)))
        self._begun = True

    async def send(self, reply: Reply) -> None:
        """Send one message, or a run of them; returns when the library has room for more."""
        await self.begin()
        for payload in codecs.encode_reply(codecs.PROTO, reply):
            self.acks.written += _PREFIX_BYTES + len(payload)
            await self.hand_over(self._write(payload))

    async def hand_over(self, sending: Awaitable[None]) -> None:
        """Await something the library sends."""
        try:
            await sending
        except self._broken as exc:
            raise asyncio.CancelledError from exc  # the library notices it only later


def headers_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Return metadata as the other wires have headers: joined by name, binary values in base64."""
    headers: dict[str, str] = {}
    for name, value in metadata:
        text = value if isinstance(value, str) else base64.b64encode(value).decode()
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers


def _pairs(pairs: Iterable[tuple[str, str]]) -> Pairs:
    return tuple((name, _binary(value) if name.endswith("-bin") else value) for name, value in pairs)


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return text.encode()
