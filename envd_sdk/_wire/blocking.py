"""The network for threads: grpc's blocking calls, one channel for each process that uses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from envd_sdk._wire.address import Address, Metadata
from envd_sdk._wire.failure import WireError, WireTimeoutError
from envd_sdk._wire.forking import fork
from envd_sdk._wire.library import Channel, load, options, wire_error
from envd_sdk._wire.methods import Method, Request, Response
from envd_sdk._wire.watchdog import Watchdog

T = TypeVar("T", bound=Message)

sleep = time.sleep
clock = time.monotonic


class Incoming(Generic[T]):
    """The messages of a streaming answer. One thread reads at a time; any may cancel."""

    def __init__(self, call: Any, library: Any, watchdog: Watchdog) -> None:
        self._call = call
        self._library = library
        self._watchdog = watchdog
        self._late = False
        self._generation = fork.generation

    def read(self, timeout_s: float | None) -> T | None:
        """The next message; None at the end.

        Raises:
            WireTimeoutError: none came within that time; the stream is cancelled.
            WireError: the stream failed.
        """
        if self._generation != fork.generation:
            # The parent's. Who reads it here takes it up again over a connection of its own.
            raise WireError("unavailable", "the stream was left behind by a fork")
        watched = None if timeout_s is None else self._watchdog.watch(self.cancel, timeout_s)
        try:
            with fork.outside_of_forks():
                return next(self._call, None)
        except self._library.RpcError as error:
            # Also if the deadline was that of the read before, whose message came at that very moment.
            if self._late or (watched is not None and watched.expired):
                raise WireTimeoutError from None
            raise wire_error(error) from None
        except BaseException:
            # Ctrl+C, or whatever else interrupts a thread: nothing is left behind.
            self.cancel()
            raise
        finally:
            if watched is not None:
                watched.over()
                self._late = self._late or watched.expired

    def cancel(self) -> None:
        with fork.outside_of_forks():
            if self._generation == fork.generation:
                self._call.cancel()


class Wire:
    """Calls of one daemon. Connects at the first one; any number of threads may call."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._library: Any = None
        self._watchdog = Watchdog()
        self._generation = fork.generation
        self._closed = False

    def unary(
        self, method: Method[Request, Response], request: Request, metadata: Metadata, timeout_s: float | None
    ) -> Response:
        """One message for one message.

        Raises:
            WireError: the call failed.
        """
        try:
            with fork.outside_of_forks():
                send = self._open().sender("unary_unary", method)
                response: Response = send(request, metadata=metadata, timeout=timeout_s)
        except self._library.RpcError as error:
            raise wire_error(error) from None
        except ValueError as error:
            raise _closed_meanwhile(error) from None
        return response

    def stream(self, method: Method[Request, Response], request: Request, metadata: Metadata) -> Incoming[Response]:
        """One message for many, which come until they are cancelled or have ended."""
        try:
            with fork.outside_of_forks():
                send = self._open().sender("unary_stream", method)
                call = send(request, metadata=metadata)
                fork.know(call)
                return Incoming(call, self._library, self._watchdog)
        except ValueError as error:
            raise _closed_meanwhile(error) from None

    def upload(
        self,
        method: Method[Request, Response],
        messages: Iterator[Request | bytes],
        metadata: Metadata,
        idle_s: float | None,
    ) -> Response:
        """Many messages for one; they are taken from the iterator by a thread of the library's.

        Args:
            idle_s: for how long neither a message nor the answer may fail to get through.

        Raises:
            WireTimeoutError: one did.
            WireError: the call failed.
            Exception: what the iterator raised.
        """
        source = _Source(messages)
        with fork.outside_of_forks():
            call = self._open().sender("stream_unary", method).future(source, metadata=metadata)
            fork.know(call)
        try:
            while True:
                before = source.taken
                try:
                    response: Response = call.result(timeout=idle_s)
                except self._library.FutureTimeoutError:
                    if source.taken == before:
                        raise WireTimeoutError from None
                else:
                    return response
        except (self._library.RpcError, self._library.FutureCancelledError) as error:
            if source.failure is not None:
                raise source.failure from None
            raise wire_error(call if isinstance(error, self._library.FutureCancelledError) else error) from None
        finally:
            with fork.outside_of_forks():
                call.cancel()
            source.end()

    def close(self) -> None:
        """Close the connection; later calls fail."""
        with fork.outside_of_forks():
            self._closed = True
            channel, self._channel = self._channel, None
            if channel is not None and self._generation == fork.generation:
                channel.channel.close()

    def _open(self) -> Channel:
        if self._closed:
            raise WireError("failed_precondition", "this sandbox object was closed")
        channel = self._channel
        if channel is not None and self._generation == fork.generation:
            return channel
        with self._lock:
            if self._channel is None or self._generation != fork.generation:
                self._library = load()
                self._channel = self._connect()
                fork.channels.add(self._channel.channel)
                self._watchdog = Watchdog()
                self._generation = fork.generation
            return self._channel

    def _connect(self) -> Channel:
        # Not with SingleThreadedUnaryStream: a child forked after the first such stream hangs in its own.
        how = options(self.address)
        if not self.address.tls:
            return Channel(self._library.insecure_channel(self.address.target, options=how))
        secret = self._library.ssl_channel_credentials()
        return Channel(self._library.secure_channel(self.address.target, secret, options=how))


class _Source:
    """The messages of an upload, counted as the library takes them."""

    def __init__(self, messages: Iterator[Any]) -> None:
        self._messages = messages
        self.taken = 0
        self.failure: BaseException | None = None
        # The library's thread, while it is not asking for a message.
        self._inside: int | None = None
        self._over = False

    def end(self) -> None:
        """The call is over."""
        self._over = True
        self.leave()

    def leave(self) -> None:
        """The library's thread is not inside of it any more."""
        inside, self._inside = self._inside, None
        if inside is not None:
            fork.leave(inside)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.leave()
        try:
            message = next(self._messages)
        except StopIteration:
            self.taken += 1
            raise
        except BaseException as error:
            # The library only says that the iterator failed; the caller wants to know how.
            self.failure = error
            raise
        finally:
            if not self._over:
                fork.enter()
                self._inside = threading.get_ident()
        self.taken += 1
        return message


def _closed_meanwhile(error: ValueError) -> WireError:
    """What the library raises on a channel that another thread has closed."""
    return WireError("canceled", f"the sandbox object was closed: {error}")
