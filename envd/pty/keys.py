"""Typed bytes on their way into a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_BYTES = 1024 * 1024
_PIECES = 1024


class Keys:
    """Bytes of one stream that wait for the terminal to take them, so that what else it sends need not.

    Bounded: at most 1 MiB or 1024 pieces wait (a single larger one may); then the stream is read no further, and only
    then signals wait, too.
    """

    def __init__(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._write = write
        self._pieces: list[bytes] = []
        self._waiting = 0  # bytes, those being written included
        self._changed = asyncio.Condition()

    async def put(self, data: bytes) -> None:
        """Add bytes; waits while there are too many."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(len(data)))
            self._pieces.append(data)
            self._waiting += len(data)
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._waiting or (self._waiting + size <= _BYTES and len(self._pieces) < _PIECES)

    async def run(self) -> None:
        """Write them in order, until cancelled.

        Raises:
            EnvdError: the terminal takes no input any more.
        """
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._pieces)
                data = b"".join(self._pieces)
                self._pieces.clear()
            await self._write(data)
            async with self._changed:
                self._waiting -= len(data)
                self._changed.notify_all()
