"""A go-between on the way to the daemon, whose connections a test can cut."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PIECE_BYTES = 256 * 1024


class Proxy:
    """Passes on bytes as they come, and stops reading where the other side takes no more."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        # Writers whose bytes are taken and go nowhere.
        self._silent: set[asyncio.StreamWriter] = set()
        self.port = 0
        # Bytes that clients have sent.
        self.received = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, onward_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, onward_writer, counted=True))
                group.create_task(self._pass_on(onward_reader, writer))
        finally:
            self._writers -= pair
            self._silent -= pair

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                self.received += len(data) if counted else 0
                if writer not in self._silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def swallow(self) -> None:
        """Take what comes over the connections there are and pass on none of it; new ones are not affected."""
        self._silent |= self._writers

    def cut(self) -> None:
        """Reset every connection, on both sides; what is under way is lost."""
        for writer in self._writers:
            if writer.transport.is_closing():
                continue
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """A proxy to a port of this machine, on a port of its own."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield proxy
        finally:
            proxy.cut()
