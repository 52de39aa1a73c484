"""HTTP/1.1 over a plain socket: exact bytes out, exact bytes in, and every rude way to leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

DEADLINE_S = 30.0
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
    """One TCP connection. Every wait ends after DEADLINE_S, so a test never hangs on a silent server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def socket(self) -> socket.socket:
        sock = self._writer.get_extra_info("socket")
        assert sock is not None
        return sock  # type: ignore[no-any-return]

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE_S):
            self._writer.write(data)
            await self._writer.drain()

    async def read_head(self) -> Head:
        """The status line and headers of the next response, 100 Continue included."""
        async with asyncio.timeout(DEADLINE_S):
            block = await self._reader.readuntil(b"\r\n\r\n")
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
        """The pieces of a body as they arrive, framed as the head says."""
        if head.status in (204, 304):
            return
        if (head.headers.get("Transfer-Encoding") or "").lower() == "chunked":
            async for piece in self._read_chunks():
                yield piece
        elif "Content-Length" in head.headers:
            async with asyncio.timeout(DEADLINE_S):
                whole = await self._reader.readexactly(int(head.headers["Content-Length"]))
            yield whole
        else:
            while piece := await self.read_some():
                yield piece

    async def _read_chunks(self) -> AsyncGenerator[bytes]:
        while True:
            async with asyncio.timeout(DEADLINE_S):
                size = int((await self._reader.readline()).split(b";")[0], 16)
                piece = await self._reader.readexactly(size)
                assert await self._reader.readexactly(2) == b"\r\n"
            if not size:
                return
            yield piece

    async def read_some(self) -> bytes:
        """What has arrived, as soon as anything has; empty at the end of the stream."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.read(_READ_BYTES)

    async def read_to_end(self) -> bytes:
        """Everything up to the server's FIN; a reset counts as one."""
        data = bytearray()
        try:
            while piece := await self.read_some():
                data += piece
        except ConnectionError:
            pass
        return bytes(data)

    def stop_reading(self) -> None:
        """Leave what arrives in the kernel, so that the server's send buffer fills."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def go_on_reading(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def half_close(self) -> None:
        """Send FIN; the server can still answer."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Go away with RST, as a client that is killed with unread data."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.transport.abort()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._writer.wait_closed()
        except ConnectionError:
            pass


@asynccontextmanager
async def connection(port: int, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Connection]:
    """A connection to the daemon, closed on the way out.

    Args:
        port: on 127.0.0.1.
        receive_buffer_bytes: SO_RCVBUF; small, it makes a reader that stops be noticed early.
    """
    sock = socket.socket()
    try:
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=sock, limit=2**20)
    except BaseException:
        sock.close()
        raise
    opened = Connection(reader, writer)
    try:
        yield opened
    finally:
        await opened.close()


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


async def exchange(port: int, method: str, path: str, **parts: object) -> Response:
    """One request on a connection of its own; `parts` as for `request`."""
    async with connection(port) as conn:
        await conn.send(request(method, path, **parts))  # type: ignore[arg-type]
        return await conn.read_response(method=method)
