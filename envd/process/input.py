"""The input of a process: its stdin pipe, or its terminal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from envd.errors import Code, EnvdError

from .idempotent_input import IdempotentInput, IdempotentWrite

_WAITING_WRITERS = 256
_LOOK_AGAIN_S = 0.001
_LOOK_AGAIN_AT_MOST_S = 0.25


class Input:
    """Writes to a process's stdin pipe or terminal, one writer after the other, each in the order it came.

    A write returns when the kernel has every byte, which outlives the server: nothing acknowledged is lost. A
    writer that has more than the process reads waits, alone. Bounded: 256 writers wait; one more is RESOURCE_EXHAUSTED.

    Args:
        pid: for messages.
        name: for messages: stdin or tty.
        fd: non-blocking, -1 if the process has no input. Owned.
        closed: called when it is to end, so that other holders of the descriptor close it.
        keyed: knows what was written under which key.
    """

    def __init__(self, pid: int, name: str, fd: int, closed: Callable[[], None], keyed: IdempotentInput) -> None:
        self._pid = pid
        self._name = name
        self._fd = fd
        self._closed = closed
        self.keyed = keyed
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._writable: asyncio.Future[None] | None = None
        self.last_byte_at = 0.0

    async def write(self, data: bytes, request: IdempotentWrite | None = None) -> None:
        """Write all bytes, after those of earlier writers; with `wanted`, what was not yet written under its key.

        Raises:
            EnvdError: INTERNAL if it is closed or the process has closed it, RESOURCE_EXHAUSTED if too many wait; as
                IdempotentInput.find.
        """
        async with self._place():
            if request is None:
                await self._write(memoryview(data), self._give)
                return
            record = self.keyed.find(request)

            def give(view: memoryview) -> int:
                with self.keyed.writing(request, record, len(view)):
                    count = self._give(view)
                    record.written += count
                return count

            await self._write(memoryview(data)[record.written :], give)

    def _give(self, view: memoryview) -> int:
        return os.write(self._fd, view)

    async def _write(self, view: memoryview, give: Callable[[memoryview], int]) -> None:
        pause_s = 0.0
        while view:
            if self._fd < 0:
                raise EnvdError(Code.INTERNAL, f"error writing to {self._name}: {self._name} not enabled or closed")
            try:
                view = view[give(view) :]
                self.last_byte_at, pause_s = asyncio.get_running_loop().time(), 0.0
            except BlockingIOError:
                await self._until_writable(pause_s)
                # A full terminal that nobody has open says that it is writable, and is not: then look now and then.
                pause_s = min(max(2 * pause_s, _LOOK_AGAIN_S), _LOOK_AGAIN_AT_MOST_S)
            except OSError as exc:
                raise self._broken(exc) from exc
            if view:
                await asyncio.sleep(0)  # others have a turn between two pieces

    def _broken(self, exc: OSError) -> EnvdError:
        doing = f"error writing to {self._name}"
        reason = os.strerror(exc.errno or 0).lower()
        return EnvdError(Code.INTERNAL, f"{doing}: {doing} of process '{self._pid}': write: {reason}")

    async def _until_writable(self, pause_s: float) -> None:
        """Wait until the kernel says so, or for `pause_s` seconds if that had been no help."""
        loop = asyncio.get_running_loop()
        self._writable = writable = loop.create_future()
        timer = loop.call_later(pause_s, _settle, writable) if pause_s else None
        if timer is None:
            loop.add_writer(self._fd, _settle, writable)
        try:
            await writable
        finally:
            self._writable = None
            if timer is not None:
                timer.cancel()
            elif self._fd >= 0:
                loop.remove_writer(self._fd)

    async def end(self) -> None:
        """Close it once everything written before is on its way; does nothing if it is closed."""
        async with self._place():
            self.close()
            self._closed()

    def close(self) -> None:
        """Close our end now; a writer that waits fails."""
        if self._fd < 0:
            return
        if self._writable is not None:
            asyncio.get_running_loop().remove_writer(self._fd)
            _settle(self._writable)
        os.close(self._fd)
        self._fd = -1

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for this writer's turn."""
        if self._waiting >= _WAITING_WRITERS:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED,
                f"{_WAITING_WRITERS} writers already wait for process {self._pid} to read its input",
            )
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
