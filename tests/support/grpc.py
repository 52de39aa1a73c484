"""Native gRPC from a client's side, with the library everybody uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tests.support.wires import MessageT, Outgoing, RpcError, as_they_come

# A pool of its own: otherwise channels of one process share a connection, and so would tests.
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    # Its own are up to two minutes; a server that was killed is there again in a moment.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_ATTEMPTS = 50  # on a busy machine the answer is lost several times in a row

T = TypeVar("T")


def serialize(message: Message) -> bytes:
    return message.SerializeToString()


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """Call, and once more where this client has lost the server's answer.

    grpc.aio reports its own write that came too late, as INTERNAL, instead of the error with which the server had ended
    the call already: of 3500 calls to a bare grpc.aio server that refuses at the first of two messages, 20.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await call()
        except grpc.RpcError as error:
            if error.details() != "Internal error from Core":
                raise
    return await call()


def rpc_error(error: grpc.RpcError) -> RpcError:
    """An error of the library's as all wires have it."""
    assert isinstance(error, grpc.aio.AioRpcError)
    name = error.code().name.lower()
    return RpcError("canceled" if name == "cancelled" else name, error.details() or "")


@asynccontextmanager
async def channel(port: int, *options: tuple[str, Any]) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of one's own, closed on the way out."""
    opened = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*OPTIONS, *options])
    async with opened:
        yield opened


class GrpcIncoming(Generic[MessageT]):
    """The messages of a streaming response."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, MessageT]) -> None:
        self.call = call

    def __aiter__(self) -> AsyncIterator[MessageT]:
        return self

    async def __anext__(self) -> MessageT:
        try:
            found = await self.call.read()
        except grpc.RpcError as error:
            raise rpc_error(error) from error
        except asyncio.CancelledError:
            if self.call.cancelled() and not asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise EOFError("this side has cancelled the call") from None
            raise
        if found is grpc.aio.EOF:
            raise StopAsyncIteration
        return found  # type: ignore[return-value]

    def leave(self) -> None:
        self.call.cancel()


@dataclass(frozen=True, slots=True)
class Grpc:
    """Calls the methods of one daemon over one channel."""

    port: int
    channel: grpc.aio.Channel
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator[Grpc]:
        async with channel(port) as opened:
            yield cls(port, opened)

    def with_headers(self, headers: Mapping[str, str]) -> Grpc:
        return replace(self, headers={**self.headers, **headers})

    def metadata(self, headers: Mapping[str, str] | None) -> list[tuple[str, str]]:
        """Headers as gRPC has them: names in lower case."""
        return [(name.lower(), value) for name, value in {**self.headers, **(headers or {})}.items()]

    async def unary(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        call = self.channel.unary_unary(
            f"/{method}", request_serializer=serialize, response_deserializer=response_type.FromString
        )
        try:
            return await call(message, metadata=self.metadata(headers), timeout=timeout_s)
        except grpc.RpcError as error:
            raise rpc_error(error) from error

    @asynccontextmanager
    async def server_stream(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AsyncIterator[GrpcIncoming[MessageT]]:
        if receive_buffer_bytes is not None:
            # Windows that do not grow take the place of a small socket buffer.
            options = (("grpc.http2.lookahead_bytes", receive_buffer_bytes), ("grpc.http2.bdp_probe", 0))
            async with (
                channel(self.port, *options) as own,
                replace(self, channel=own).server_stream(
                    method, message, response_type, headers=headers, timeout_s=timeout_s
                ) as incoming,
            ):
                yield incoming
            return
        stream = self.channel.unary_stream(
            f"/{method}", request_serializer=serialize, response_deserializer=response_type.FromString
        )
        call = stream(message, metadata=self.metadata(headers), timeout=timeout_s)
        try:
            yield GrpcIncoming(call)
        finally:
            call.cancel()

    async def client_stream(
        self,
        method: str,
        messages: Outgoing,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        stream = self.channel.stream_unary(
            f"/{method}", request_serializer=serialize, response_deserializer=response_type.FromString
        )

        async def call(messages: list[Message] | tuple[Message, ...]) -> MessageT:
            # Of messages written one by one, one that comes too late raises the status that had ended the call.
            started = stream(metadata=self.metadata(headers), timeout=timeout_s)
            with suppress(asyncio.InvalidStateError):  # it is over
                for message in messages:
                    await started.write(message)
                await started.done_writing()
            return await started

        try:
            if isinstance(messages, list | tuple):
                return await answered(lambda: call(messages))
            # What comes from an iterator cannot be sent again.
            return await stream(as_they_come(messages), metadata=self.metadata(headers), timeout=timeout_s)
        except grpc.RpcError as error:
            raise rpc_error(error) from error
