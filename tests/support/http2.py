"""HTTP/2 made by hand: any frame, in any order, as often as a test likes.

Source: RFC 9113, sections 3.4, 4 and 6; RFC 7541, sections 5 and 6.2.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.support.http1 import Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20
CANCEL = 0x8
INITIAL_WINDOW_SIZE = 0x4
_ROOM = 2**30


@dataclass(frozen=True, slots=True)
class H2Frame:
    """One frame as it stood on the wire."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def h2_frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return h2_frame(SETTINGS, b"".join(struct.pack(">HI", name, value) for name, value in pairs))


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """A number in HPACK's variable length; `first` has the bits before it."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out, value = bytearray((first | most,)), value - most
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _string(text: str) -> bytes:
    data = text.encode()
    return integer(len(data), 7) + data


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """A header field spelled out; indexed, it goes into the table of both sides."""
    return (b"\x40" if indexed else b"\0") + _string(name) + _string(value)


def call_fields(method: str, *headers: tuple[str, str], content_type: str = "application/grpc") -> bytes:
    """The header block of a gRPC call."""
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{method}"),
        (":authority", "localhost"),
        ("content-type", content_type),
        ("te", "trailers"),
        *headers,
    )
    return b"".join(literal(name, value) for name, value in fields)


class Http2:
    """A client's side of one connection. What the protocol asks for in return is sent as frames are read."""

    def __init__(self, conn: Connection, *pairs: tuple[int, int]) -> None:
        self.connection = conn
        # The preface, settings, and room for all the server wants to say on the whole connection.
        room = h2_frame(WINDOW_UPDATE, struct.pack(">I", _ROOM))
        self.opening = PREFACE + settings(*pairs) + room
        self._buffer = bytearray()
        self._silent = False

    def half_close(self) -> None:
        """Send FIN; from then on nothing is answered any more."""
        self._silent = True
        self.connection.half_close()

    def call(
        self,
        stream: int,
        method: str,
        body: bytes,
        *headers: tuple[str, str],
        content_type: str = "application/grpc",
        end: bool = True,
    ) -> bytes:
        """A whole request, in frames as large as every server takes them."""
        parts = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
        frames = [
            h2_frame(
                HEADERS, call_fields(method, *headers, content_type=content_type), flags=END_HEADERS, stream=stream
            )
        ]
        frames += [h2_frame(DATA, part, stream=stream) for part in parts[:-1]]
        frames.append(h2_frame(DATA, parts[-1], flags=END_STREAM if end else 0, stream=stream))
        return b"".join(frames)

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = await self.connection.read_some()
            if not piece:
                raise EOFError(f"the connection ended, after {bytes(self._buffer)!r}")
            self._buffer += piece
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def next_frame(self) -> H2Frame:
        """The next frame; EOFError where the connection ends."""
        head = await self._exactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        found = H2Frame(kind, flags, stream, await self._exactly(int.from_bytes(head[:3], "big")))
        if self._silent:
            return found
        if kind in (SETTINGS, PING) and not flags & ACK:
            answer = found.payload if kind == PING else b""
            await self.connection.send(h2_frame(kind, answer, flags=ACK))
        elif kind == DATA and found.payload and not flags & END_STREAM:
            await self.connection.send(h2_frame(WINDOW_UPDATE, struct.pack(">I", len(found.payload)), stream=stream))
        return found

    async def response(self, stream: int) -> list[H2Frame]:
        """The frames of one stream, until it ends or is reset; those of others are dropped."""
        found: list[H2Frame] = []
        while not found or not (found[-1].kind == RST_STREAM or found[-1].flags & END_STREAM):
            next_one = await self.next_frame()
            if next_one.stream == stream and next_one.kind in (HEADERS, DATA, RST_STREAM):
                found.append(next_one)
        return found

    async def until_ack_of_ping(self, mark: bytes = b"envdping") -> bytes:
        """Send a PING and read until its answer: all that was sent before has been looked at.

        Returns the contents of the DATA frames on the way.
        """
        data = b""
        await self.connection.send(h2_frame(PING, mark))
        while True:
            found = await self.next_frame()
            data += found.payload if found.kind == DATA else b""
            if found.kind == PING and found.flags & ACK and found.payload == mark:
                return data
