"""A request body on its way from the socket to its reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from envd.errors import Code, EnvdError

_HIGH_BYTES = 256 * 1024
_DIRECT_BYTES = 512 * 1024


class Direct(Protocol):
    """The socket itself, for a body too long to come through the parser."""

    @property
    def waiting(self) -> bool:
        """True while the client is waited for."""

    def wake(self) -> None:
        """End that wait."""

    async def read(self, size: int) -> bytes:
        """Return what the socket has, at most `size` bytes, none at its end; waits until there is something."""

    def close(self) -> None:
        """Give the socket back; its parser goes on behind the body."""


class RequestBody:
    """Bytes of one request body. Bounded: above 256 KiB unread the socket is not read until the reader catches up.

    One reader at a time. What is left of a long body whose length is known is read from the socket directly, which
    costs half as much.

    Args:
        flow: called with True when the socket should stop, with False when it should go on.
        before_wait: called before the first wait, so that a client that expects it gets its 100 Continue.
        length: bytes in all, None if that is not known.
        direct: opens the socket for reading, nothing is fed then; None if it cannot be opened now.

    Attributes:
        reading: called before the first read.
    """

    def __init__(
        self,
        flow: Callable[[bool], None],
        before_wait: Callable[[], None],
        length: int | None = None,
        direct: Callable[[], Direct | None] | None = None,
    ) -> None:
        self.length = length
        self.reading: Callable[[], None] | None = None
        self._flow = flow
        self._before_wait = before_wait
        self._remaining = length or 0  # not fed yet
        self._open_direct = direct
        self._direct: Direct | None = None
        self._buffer = bytearray()
        self._complete = False
        self._broken: EnvdError | None = None
        self._paused = False
        self._need = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """True once the last byte has arrived."""
        return self._complete

    @property
    def waiting(self) -> bool:
        """True while a reader waits for the client."""
        if self._direct is not None:
            return self._direct.waiting
        return self._waiter is not None and not self._waiter.done()

    def feed(self, data: bytes) -> None:
        """Add bytes from the socket."""
        self._buffer += data
        self._remaining -= len(data)
        if not self._paused and len(self._buffer) > max(_HIGH_BYTES, self._need):
            self._paused = True
            self._flow(True)
        if self._need and len(self._buffer) >= self._need:
            self._wake()

    def finish(self) -> None:
        """Note that the body has arrived whole."""
        self._complete = True
        self._wake()

    def fail(self, error: EnvdError) -> None:
        """Make every further read raise: the body will never be whole."""
        self._broken = error
        self._wake()

    def abandon(self) -> None:
        """Free the bytes that have arrived: no reader will come."""
        self._buffer.clear()
        self._close_direct()

    def _wake(self) -> None:
        if self._direct is not None:
            self._direct.wake()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait_for(self, size: int) -> None:
        """Wait until `size` bytes are here or no more will come."""
        self._need = size
        while len(self._buffer) < size and not self._complete:
            if self._broken is not None:
                raise self._broken
            self._resume()
            self._before_wait()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._need = 0

    def _take(self, size: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        if len(self._buffer) <= _HIGH_BYTES // 2:
            self._resume()
        return data

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._flow(False)

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        if self.reading is not None:
            self.reading()
            self.reading = None
        if self._direct is None and not self._buffer and not self._complete and self._remaining >= _DIRECT_BYTES:
            self._before_wait()
            self._direct = self._open_direct() if self._open_direct is not None else None
        if self._direct is not None:
            return await self._read_directly(self._direct, size)
        await self._wait_for(1)
        return self._take(size)

    async def _read_directly(self, direct: Direct, size: int) -> bytes:
        data = b"" if self._broken is not None else await direct.read(min(size, self._remaining))
        if self._broken is not None:
            raise self._broken
        if not data:
            raise EnvdError(Code.INVALID_ARGUMENT, f"the request body ends {self._remaining} bytes before its length")
        self._remaining -= len(data)
        if not self._remaining:
            self._close_direct()
            self._complete = True
        return data

    def _close_direct(self) -> None:
        if self._direct is not None:
            self._direct.close()
            self._direct = None

    async def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes, fewer only where the body ends."""
        await self._wait_for(size)
        return self._take(size)

    async def read_all(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED as soon as it is known to be larger than `limit` bytes.
        """
        await self._wait_for(limit + 1)
        if len(self._buffer) > limit:
            raise EnvdError(Code.RESOURCE_EXHAUSTED, f"request body is larger than {limit} bytes")
        return self._take(len(self._buffer))

    async def discard(self, limit: int) -> bool:
        """Skip the unread rest, so that the connection can be used again; False if there is more than `limit`."""
        while not self._complete:
            limit -= len(self._take(len(self._buffer)))
            if limit < 0 or self._direct is not None:
                return False
            await self._wait_for(1)
        self._buffer.clear()
        return True
