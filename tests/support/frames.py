"""Length-prefixed frames in an HTTP/1.1 body, as Connect and gRPC-Web both have them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Generic

from tests.support.http1 import Connection, Head, Headers
from tests.support.wires import MessageT

COMPRESSED = 0x01
# The last frame of a response, in Connect and in gRPC-Web.
END_STREAM = 0x02
TRAILERS = 0x80


@dataclass(frozen=True, slots=True)
class Frame:
    """One envelope as it stood on the wire."""

    flags: int
    payload: bytes

    @property
    def data(self) -> bytes:
        """The payload, decompressed if it is flagged so."""
        return gzip.decompress(self.payload) if self.flags & COMPRESSED else self.payload

    @property
    def is_end(self) -> bool:
        return bool(self.flags & (END_STREAM | TRAILERS))


def frame(payload: bytes, *, flags: int = 0) -> bytes:
    """One envelope: flags, length, payload."""
    return struct.pack(">BI", flags, len(payload)) + payload


def frames_from(body: bytes) -> list[Frame]:
    """The frames of a whole body; ValueError if it ends inside one."""
    found = []
    while body:
        if len(body) < 5:
            raise ValueError(f"half a frame prefix: {body!r}")
        flags, length = struct.unpack(">BI", body[:5])
        if len(body) < 5 + length:
            raise ValueError(f"a frame of {length} bytes has only {len(body) - 5}")
        found.append(Frame(flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


class FrameReader:
    """The frames of a response as they arrive."""

    def __init__(self, conn: Connection, head: Head) -> None:
        self.connection = conn
        self.status = head.status
        self.headers: Headers = head.headers
        # The last frame, once it was read.
        self.end: Frame | None = None
        self._pieces = conn.read_body(head)
        self._buffer = bytearray()

    async def _exactly(self, count: int) -> bytes:
        """That many body bytes; fewer only if the body ends."""
        while len(self._buffer) < count:
            try:
                self._buffer += await anext(self._pieces)
            except StopAsyncIteration:
                break
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def next_frame(self) -> Frame | None:
        """The next frame; None where the body ends. EOFError if it ends inside a frame."""
        prefix = await self._exactly(5)
        if not prefix:
            return None
        if len(prefix) < 5:
            raise EOFError(f"the body ends in a frame prefix: {prefix!r}")
        flags, length = struct.unpack(">BI", prefix)
        payload = await self._exactly(length)
        if len(payload) < length:
            raise EOFError(f"the body ends in a frame: {len(payload)} of {length} bytes")
        found = Frame(flags, payload)
        if found.is_end:
            self.end = found
        return found

    async def whole_body(self) -> bytes:
        """All that is left of the body, for a response that has no frames."""
        return bytes(self._buffer) + b"".join([piece async for piece in self._pieces])

    async def frames(self) -> AsyncGenerator[Frame]:
        """Every frame to the end of the body, the last one included."""
        while (found := await self.next_frame()) is not None:
            yield found

    async def aclose(self) -> None:
        await self._pieces.aclose()


class Received(Generic[MessageT]):
    """The messages of a streaming response over HTTP/1.1; `raw` has the frames."""

    def __init__(self, raw: FrameReader, messages: AsyncIterator[MessageT]) -> None:
        self.raw = raw
        self._messages = messages

    def __aiter__(self) -> AsyncIterator[MessageT]:
        return self

    async def __anext__(self) -> MessageT:
        return await anext(self._messages)

    def leave(self) -> None:
        self.raw.connection.reset()
