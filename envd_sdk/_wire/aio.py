"""The network for asyncio: grpc.aio, one channel for each event loop that uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from envd_sdk._wire.address import Address, Metadata
from envd_sdk._wire.failure import WireError, WireTimeoutError
from envd_sdk._wire.forking import fork
from envd_sdk._wire.library import Channel, load_aio, options, wire_error
from envd_sdk._wire.methods import Method, Request, Response

T = TypeVar("T", bound=Message)

sleep = asyncio.sleep
clock = time.monotonic


class AsyncIncoming(Generic[T]):
    """The messages of a streaming answer."""

    def __init__(self, call: Any, library: Any) -> None:
        self._call = call
        self._library = library

    async def read(self, timeout_s: float | None) -> T | None:
        """The next message; None at the end.

        Raises:
            WireTimeoutError: none came within that time; the stream is cancelled.
            WireError: the stream failed.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._call.read()
        except TimeoutError:
            raise WireTimeoutError from None
        except self._library.AioRpcError as error:
            raise wire_error(error) from None
        except asyncio.CancelledError:
            _reraise_unless_closed(self._call)
        return None if message is self._library.EOF else message

    def cancel(self) -> None:
        self._call.cancel()


class AsyncWire:
    """Calls of one daemon. Connects at the first one."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: Channel | None = None
        self._library: Any = None
        self._generation = fork.generation
        self._closed = False

    async def unary(
        self, method: Method[Request, Response], request: Request, metadata: Metadata, timeout_s: float | None
    ) -> Response:
        """One message for one message.

        Raises:
            WireError: the call failed.
        """
        send = self._open().sender("unary_unary", method)
        call = send(request, metadata=metadata, timeout=timeout_s)
        response: Response = await self._finished(call)
        return response

    async def stream(
        self, method: Method[Request, Response], request: Request, metadata: Metadata
    ) -> AsyncIncoming[Response]:
        """One message for many, which come until they are cancelled or have ended."""
        send = self._open().sender("unary_stream", method)
        return AsyncIncoming(send(request, metadata=metadata), self._library)

    async def upload(
        self,
        method: Method[Request, Response],
        messages: AsyncIterator[Request | bytes],
        metadata: Metadata,
        idle_s: float | None,
    ) -> Response:
        """Many messages for one.

        Args:
            idle_s: for how long neither a message nor the answer may fail to get through.

        Raises:
            WireTimeoutError: one did.
            WireError: the call failed.
        """
        send = self._open().sender("stream_unary", method)
        call = send(metadata=metadata)
        try:
            async for message in messages:
                if not await self._sent(call, message, idle_s):
                    break
            else:
                await self._settled(call.done_writing(), idle_s)
            async with asyncio.timeout(idle_s):
                response: Response = await self._finished(call)
        except TimeoutError:
            raise WireTimeoutError from None
        finally:
            call.cancel()
        return response

    async def close(self) -> None:
        """Close the connection; later calls fail."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None and self._loop is asyncio.get_running_loop():
            await channel.channel.close()

    async def _sent(self, call: Any, message: Message | bytes, idle_s: float | None) -> bool:
        """Send one message; False if the call has its answer already."""
        return await self._settled(call.write(message), idle_s)

    async def _settled(self, step: Awaitable[None], idle_s: float | None) -> bool:
        try:
            async with asyncio.timeout(idle_s):
                await step
        except (asyncio.InvalidStateError, self._library.AioRpcError):
            # The answer, or why there is none, is the call's to tell.
            return False
        return True

    async def _finished(self, call: Any) -> Any:
        try:
            return await call
        except self._library.AioRpcError as error:
            raise wire_error(error) from None
        except asyncio.CancelledError:
            _reraise_unless_closed(call)
            raise
        finally:
            call.cancel()

    def _open(self) -> Channel:
        if self._closed:
            raise WireError("failed_precondition", "this sandbox object was closed")
        if self._generation != fork.generation:
            raise WireError(
                "failed_precondition",
                "this AsyncSandbox was made before a fork: make one in the child, and only if the parent has not "
                "used any before it forked",
            )
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:
            self._library = load_aio()
            self._channel = self._connect()
            self._loop = loop
        return self._channel

    def _connect(self) -> Channel:
        import grpc  # noqa: PLC0415 - loaded by now

        how = options(self.address)
        if not self.address.tls:
            return Channel(self._library.insecure_channel(self.address.target, options=how))
        return Channel(self._library.secure_channel(self.address.target, grpc.ssl_channel_credentials(), options=how))


def _reraise_unless_closed(call: Any) -> None:
    """Tell a call that this side's `close` has ended from a task that somebody cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    with suppress(asyncio.InvalidStateError):
        if not call.cancelled():
            raise asyncio.CancelledError
    raise WireError("canceled", "the call was ended by this side") from None
