"""Bulk bytes between a socket and a file or a reader, past the event loop's buffers.

The loop only waits until the socket is ready. Files are touched in a thread, for a disk may be slow; the socket never
blocks, so no thread waits for a client.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from envd.errors import Code, EnvdError
from envd.web import Settle

_SEND_BYTES = 4 * 1024 * 1024  # handed to the kernel at once


class DirectSocket:
    """A duplicate of a connection's socket, while its transport is idle. Closed by its maker.

    Args:
        touched: called when bytes have moved.
        closed: called at the end.
    """

    def __init__(self, sock: socket.socket, touched: Callable[[], None], closed: Callable[[], None]) -> None:
        self._fd = os.dup(sock.fileno())
        self._touched = touched
        self._closed = closed
        self._ready: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        """True while the peer is waited for."""
        return self._ready is not None

    def wake(self) -> None:
        """End a wait; `read` then returns nothing."""
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(ConnectionAbortedError())

    def close(self) -> None:
        """Close the duplicate."""
        if self._fd >= 0:
            if self._ready is not None:
                # Else the loop takes the next descriptor of this number for one it knows, and that is never read.
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._fd)
                loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._closed()

    async def read(self, size: int) -> bytes:
        """Return what the socket has, at most `size` bytes; none at its end, or if it has failed."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = os.read(self._fd, size)
            except BlockingIOError:
                pass
            except OSError:
                return b""
            else:
                self._touched()
                return data
            try:
                await self._until_ready(loop.add_reader, loop.remove_reader)
            except ConnectionAbortedError:
                return b""

    async def writable(self) -> None:
        """Wait until the peer takes more."""
        loop = asyncio.get_running_loop()
        await self._until_ready(loop.add_writer, loop.remove_writer)

    def fileno(self) -> int:
        """Return the duplicate's number."""
        return self._fd

    async def _until_ready(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        self._ready = ready = asyncio.get_running_loop().create_future()
        add(self._fd, _settle, ready)
        try:
            await ready
        finally:
            self._ready = None
            if self._fd >= 0:
                remove(self._fd)


@dataclass(frozen=True, slots=True)
class File:
    """Bytes of a file: `count` from `offset` on.

    Attributes:
        settle: reads it, in a thread.
    """

    fd: int
    offset: int
    count: int
    settle: Settle


async def send_file(sock: socket.socket, file: File, *, idle_s: float, touched: Callable[[], None]) -> None:
    """Send bytes of a file.

    Raises:
        EnvdError: ABORTED if the file ends before; DEADLINE_EXCEEDED if the peer takes nothing for `idle_s`.
        OSError: the connection is gone, or the file cannot be read.
    """
    direct = DirectSocket(sock, touched, _nothing)
    offset, count = file.offset, file.count
    try:
        while count:
            work = partial(os.sendfile, direct.fileno(), file.fd, offset, min(count, _SEND_BYTES))
            sent = await _send_piece(direct, work, file.settle, idle_s)
            if not sent:
                raise EnvdError(Code.ABORTED, f"the file became shorter while it was sent: {count} bytes are missing")
            offset, count = offset + sent, count - sent
            touched()
    finally:
        direct.close()


async def _send_piece(direct: DirectSocket, work: Callable[[], int], settle: Settle, idle_s: float) -> int:
    while True:
        try:
            return await settle(work)
        except BlockingIOError:
            try:
                async with asyncio.timeout(idle_s):
                    await direct.writable()
            except TimeoutError as exc:
                raise EnvdError(Code.DEADLINE_EXCEEDED, f"no byte of the file taken for {idle_s:g} s") from exc


def _nothing() -> None:
    """Ignore that the socket is given back: no caller waits."""


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
