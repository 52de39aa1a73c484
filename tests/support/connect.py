"""The Connect protocol from a client's side, in both codecs, down to the flags of a frame.

Source: https://connectrpc.com/docs/protocol
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.support.frames import COMPRESSED, END_STREAM, Frame, FrameReader, Received, frame, frames_from
from tests.support.http1 import Connection, Head, Response, connection, request, sending
from tests.support.wires import MessageT, Outgoing, RpcError, as_they_come, basic, refused_by_http

__all__ = ["COMPRESSED", "END_STREAM", "Client", "Codec", "ConnectError", "Frame", "Stream", "basic", "frame"]


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


class ConnectError(RpcError):
    """An error the server answered with, as a unary body or in an end-stream frame."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(code, message, f"HTTP {status}")
        self.status = status


def error_of(response: Response) -> ConnectError:
    """The error in a unary response."""
    answer = json.loads(response.body)
    if answer["code"] == response.status:
        answer["code"] = refused_by_http(response.status, response.body).code
    return ConnectError(answer["code"], answer.get("message", ""), response.status)


def error_in(end: Frame, status: int = 200) -> ConnectError | None:
    """The error in an end-stream frame, if there is one."""
    error = json.loads(end.data).get("error")
    return error and ConnectError(error["code"], error.get("message", ""), status)


class Stream(FrameReader):
    """The response half of a streaming call."""

    def __init__(self, conn: Connection, head: Head, codec: Codec) -> None:
        super().__init__(conn, head)
        self.codec = codec

    async def messages(self, message_type: type[MessageT]) -> AsyncGenerator[MessageT]:
        """Every message; then returns after a good end-stream frame or raises the ConnectError in it."""
        if self.status != 200:
            raise refused_by_http(self.status, await self.whole_body())
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


@dataclass(frozen=True, slots=True)
class Client:
    """Calls the methods of one daemon. Each call has a connection of its own."""

    port: int
    codec: Codec
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, headers: Mapping[str, str]) -> Client:
        return replace(self, headers={**self.headers, **headers})

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
        timeout_s: float | None = None,
    ) -> MessageT:
        """A unary call; ConnectError if that is the answer."""
        lines = {**_deadline(timeout_s), **(headers or {})}
        response = await self.unary_raw(method, self.codec.encode(message), headers=lines)
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
    async def server_stream(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AsyncIterator[Received[MessageT]]:
        """One message there, many back; `raw` of what it gives is the Stream."""
        lines = {**_deadline(timeout_s), **(headers or {})}
        body = frame(self.codec.encode(message))
        call = self.stream_raw(method, body, headers=lines, receive_buffer_bytes=receive_buffer_bytes)
        async with call as stream, aclosing(stream.messages(response_type)) as messages:
            yield Received(stream, messages)

    async def client_stream(
        self,
        method: str,
        messages: Outgoing,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        """Many messages there, each a chunk of the body as it comes, and one back."""
        lines = {**_deadline(timeout_s), **(headers or {})}
        head = self.request(method, None, streaming=True, headers=lines, chunks=[])
        chunks = (frame(self.codec.encode(message)) async for message in as_they_come(messages))
        async with (
            connection(self.port) as conn,
            sending(conn, head, chunks),
            self.response_on(conn) as stream,
            aclosing(stream.messages(response_type)) as answers,
        ):
            replies = [answer async for answer in answers]
        assert len(replies) == 1, replies
        return replies[0]

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


def _deadline(timeout_s: float | None) -> dict[str, str]:
    return {} if timeout_s is None else {"Connect-Timeout-Ms": str(round(timeout_s * 1000))}
