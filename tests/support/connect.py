"""The Connect protocol from a client's side, in both codecs, down to the flags of a frame.

Source: https://connectrpc.com/docs/protocol
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.support.http1 import Connection, Head, Headers, Response, connection, request

COMPRESSED = 0x01
END_STREAM = 0x02

MessageT = TypeVar("MessageT", bound=Message)


class Codec(Enum):
    """How messages are written; the value is the name in content types."""

    JSON = "json"
    PROTO = "proto"

    @property
    def unary_type(self) -> str:
        return f"application/{self.value}"

    @property
    def stream_type(self) -> str:
        return f"application/connect+{self.value}"

    def encode(self, message: Message) -> bytes:
        if self is Codec.PROTO:
            return message.SerializeToString()
        return json_format.MessageToJson(message, indent=None).encode()

    def decode(self, data: bytes, message_type: type[MessageT]) -> MessageT:
        if self is Codec.PROTO:
            return message_type.FromString(data)
        return json_format.Parse(data, message_type())


class ConnectError(Exception):
    """An error the server answered with, as a unary body or in an end-stream frame."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{code}: {message} (HTTP {status})")
        self.code = code
        self.message = message
        self.status = status


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
        return bool(self.flags & END_STREAM)


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


def error_of(response: Response) -> ConnectError:
    """The error in a unary response."""
    answer = json.loads(response.body)
    return ConnectError(answer["code"], answer.get("message", ""), response.status)


def error_in(end: Frame, status: int = 200) -> ConnectError | None:
    """The error in an end-stream frame, if there is one."""
    error = json.loads(end.data).get("error")
    return error and ConnectError(error["code"], error.get("message", ""), status)


def basic(user: str, password: str = "") -> dict[str, str]:
    """The header that names the user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Stream:
    """The response half of a streaming call."""

    def __init__(self, conn: Connection, head: Head, codec: Codec) -> None:
        self.connection = conn
        self.status = head.status
        self.headers: Headers = head.headers
        self.codec = codec
        # The end-stream frame, once it was read.
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

    async def frames(self) -> AsyncGenerator[Frame]:
        """Every frame to the end of the body, the end-stream frame included."""
        while (found := await self.next_frame()) is not None:
            yield found

    async def messages(self, message_type: type[MessageT]) -> AsyncGenerator[MessageT]:
        """Every message; then returns after a good end-stream frame or raises the ConnectError in it."""
        async for found in self.frames():
            if found.is_end:
                error = error_in(found, self.status)
                if error:
                    raise error
                return
            yield self.codec.decode(found.data, message_type)
        raise EOFError("the body ended without an end-stream frame")

    async def read_to_end(self) -> Frame:
        """Drop what is left but the end-stream frame."""
        async with aclosing(self.frames()) as frames:
            async for found in frames:
                if found.is_end:
                    return found
        raise EOFError("the body ended without an end-stream frame")

    async def aclose(self) -> None:
        await self._pieces.aclose()


@dataclass(frozen=True, slots=True)
class Client:
    """Calls the methods of one daemon. Each call has a connection of its own."""

    port: int
    codec: Codec
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(
        self,
        method: str,
        body: bytes | None,
        *,
        streaming: bool,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> bytes:
        """The bytes of a call; `method` is "Service/Method"."""
        content_type = self.codec.stream_type if streaming else self.codec.unary_type
        lines = {"Content-Type": content_type, **self.headers, **(headers or {})}
        return request("POST", f"/{method}", headers=lines, body=body, chunks=chunks)

    async def unary_raw(
        self,
        method: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> Response:
        """A unary call with a body of any bytes; the response as it came."""
        async with connection(self.port) as conn:
            await conn.send(self.request(method, body, streaming=False, headers=headers, chunks=chunks))
            return await conn.read_response()

    async def unary(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
    ) -> MessageT:
        """A unary call; ConnectError if that is the answer."""
        response = await self.unary_raw(method, self.codec.encode(message), headers=headers)
        if response.status != 200:
            raise error_of(response)
        compressed = response.headers.get("Content-Encoding") == "gzip"
        return self.codec.decode(gzip.decompress(response.body) if compressed else response.body, response_type)

    @asynccontextmanager
    async def stream_raw(
        self,
        method: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AsyncIterator[Stream]:
        """A streaming call with a body of any bytes; leaving the block closes the connection."""
        async with connection(self.port, receive_buffer_bytes=receive_buffer_bytes) as conn:
            await conn.send(self.request(method, body, streaming=True, headers=headers, chunks=chunks))
            async with self.response_on(conn) as stream:
                yield stream

    @asynccontextmanager
    async def response_on(self, conn: Connection) -> AsyncIterator[Stream]:
        """The streaming response to what was sent on a connection."""
        stream = Stream(conn, await conn.read_head(), self.codec)
        async with aclosing(stream):
            yield stream

    async def stream_whole(
        self,
        method: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> tuple[Response, list[Frame]]:
        """A streaming call read to the end of its response; the response and its frames."""
        async with connection(self.port) as conn:
            await conn.send(self.request(method, body, streaming=True, headers=headers, chunks=chunks))
            response = await conn.read_response()
        return response, frames_from(response.body)
