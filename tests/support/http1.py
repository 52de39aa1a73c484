"""HTTP/1.1 over a plain socket: exact bytes out, exact bytes in, and every rude way to leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

DEADLINE_S = 60.0
_READ_BYTES = 64 * 1024


class Headers:
    """Header lines in the order they came; looking one up ignores case."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self.lines = tuple(lines)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a header, of several lines joined by a comma."""
        values = [value for key, value in self.lines if key.lower() == name.lower()]
        return ", ".join(values) if values else default

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(f"no {name} in {self!r}")
        return value

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __repr__(self) -> str:
        return f"Headers({self.lines!r})"


@dataclass(frozen=True, slots=True)
class Head:
    version: str
    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Response:
    version: str
    status: int
    headers: Headers
    body: bytes


class Connection:
    """One TCP connection. Nothing is read from the kernel but what a caller asks for.

    Every wait ends after DEADLINE_S, so a test never hangs on a silent server.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read_head(self) -> Head:
        """The status line and headers of the next response, 100 Continue included."""
        block = await self._until(b"\r\n\r\n")
        lines = block.decode("latin-1").split("\r\n")[:-2]
        version, status, *_ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:])
        return Head(version, int(status), Headers((name, value.strip()) for name, _, value in pairs))

    async def read_response(self, *, method: str = "POST") -> Response:
        """The next whole response; interim ones are skipped."""
        head = await self.read_head()
        while head.status < 200:
            head = await self.read_head()
        body = b"" if method == "HEAD" else b"".join([piece async for piece in self.read_body(head)])
        return Response(head.version, head.status, head.headers, body)

    async def read_body(self, head: Head) -> AsyncGenerator[bytes]:
        """The pieces of a body as they arrive, framed as the head says. EOFError if it is cut short."""
        if head.status in (204, 304):
            return
        if (head.headers.get("Transfer-Encoding") or "").lower() == "chunked":
            while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
                yield await self._exactly(size)
                await self._exactly(2)
            assert await self._exactly(2) == b"\r\n"
        elif "Content-Length" in head.headers:
            yield await self._exactly(int(head.headers["Content-Length"]))
        else:
            while piece := await self.read_some():
                yield piece

    async def read_some(self) -> bytes:
        """What has arrived, as soon as anything has; empty at the end of the stream."""
        if not self._buffer:
            await self._fill()
        return self._take(len(self._buffer))

    async def read_to_end(self) -> bytes:
        """Everything up to the server's FIN; a reset counts as one."""
        data = bytearray()
        with suppress(ConnectionError):
            while piece := await self.read_some():
                data += piece
        return bytes(data)

    def half_close(self) -> None:
        """Send FIN; the server can still answer."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with RST, as a client that is killed with unread data."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    async def _fill(self) -> bool:
        """Wait for more; False at the end of the stream, and where this side has closed it."""
        if self.socket.fileno() < 0:
            return False
        async with asyncio.timeout(DEADLINE_S):
            data = await asyncio.get_running_loop().sock_recv(self.socket, _READ_BYTES)
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return data

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not await self._fill():
                raise EOFError(f"the connection ended {count - len(self._buffer)} bytes too early")
        return self._take(count)

    async def _until(self, mark: bytes) -> bytes:
        while (position := self._buffer.find(mark)) < 0:
            if not await self._fill():
                raise EOFError(f"the connection ended before {mark!r}, after {bytes(self._buffer)!r}")
        return self._take(position + len(mark))


@asynccontextmanager
async def connection(port: int, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Connection]:
    """A connection to the daemon, closed on the way out.

    Args:
        port: on 127.0.0.1.
        receive_buffer_bytes: SO_RCVBUF; small, it makes a reader that stops be noticed early.
    """
    with socket.socket() as sock:
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield Connection(sock)


def request(
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    chunks: Iterable[bytes] | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """The bytes of a request; `body` goes with Content-Length, `chunks` chunked."""
    lines = {"Host": "127.0.0.1", **(headers or {})}
    if chunks is not None:
        lines["Transfer-Encoding"] = "chunked"
        body = b"".join(chunk(piece) for piece in chunks) + b"0\r\n\r\n"
    elif body is not None:
        lines.setdefault("Content-Length", str(len(body)))
    block = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} {version}\r\n{block}\r\n".encode("latin-1") + (body or b"")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@asynccontextmanager
async def sending(conn: Connection, head: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[None]:
    """Send a chunked request made with `chunks=[]`, its pieces as they come, beside what the block does.

    Leaving the block gives up what is not sent; a server that closes early is no error, for it may have answered.
    """

    async def send() -> None:
        with suppress(ConnectionError):
            await conn.send(head.removesuffix(b"0\r\n\r\n"))
            async for piece in pieces:
                await conn.send(chunk(piece))
            await conn.send(b"0\r\n\r\n")

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def exchange(port: int, method: str, path: str, **parts: object) -> Response:
    """One request on a connection of its own; `parts` as for `request`."""
    async with connection(port) as conn:
        await conn.send(request(method, path, **parts))  # type: ignore[arg-type]
        return await conn.read_response(method=method)
