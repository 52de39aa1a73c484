"""gRPC-Web from a client's side over HTTP/1.1, down to the flags of a frame.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from google.protobuf.message import Message

from tests.support.connect import Codec
from tests.support.frames import TRAILERS, Frame, FrameReader, Received, frame, frames_from
from tests.support.http1 import Headers, Response, connection, request, sending
from tests.support.wires import MessageT, Outgoing, RpcError, as_they_come, refused_by_http

# By number. Source: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
CODES = (
    "ok",
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
)


def trailers_of(last: Frame) -> Headers:
    """The lines of a trailer frame; AssertionError if it is none."""
    assert last.flags & TRAILERS, last
    lines = last.data.decode("ascii").split("\r\n")
    assert lines.pop() == "", last
    pairs = (line.partition(":") for line in lines)
    return Headers((name, value.strip()) for name, _, value in pairs)


def error_in(last: Frame) -> RpcError | None:
    """The error in a trailer frame, if there is one."""
    trailers = trailers_of(last)
    number = int(trailers["grpc-status"])
    if number == 0:
        return None
    return RpcError(CODES[number], unquote(trailers.get("grpc-message", "") or ""))


def timeout_header(timeout_s: float) -> dict[str, str]:
    """The deadline in the finest unit that needs at most eight digits."""
    milliseconds = round(timeout_s * 1000)
    return {"Grpc-Timeout": f"{milliseconds}m" if milliseconds < 10**8 else f"{round(timeout_s)}S"}


@dataclass(frozen=True, slots=True)
class GrpcWeb:
    """Calls the methods of one daemon. Each call has a connection of its own."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)
    codec: Codec = Codec.PROTO

    def with_headers(self, headers: Mapping[str, str]) -> GrpcWeb:
        return replace(self, headers={**self.headers, **headers})

    @property
    def content_type(self) -> str:
        return f"application/grpc-web+{self.codec.value}"

    def request(
        self,
        method: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> bytes:
        """The bytes of a call; `method` is "Service/Method"."""
        lines = {"Content-Type": self.content_type, "X-Grpc-Web": "1", **self.headers}
        if timeout_s is not None:
            lines |= timeout_header(timeout_s)
        return request("POST", f"/{method}", headers={**lines, **(headers or {})}, body=body, chunks=chunks)

    async def whole(
        self,
        method: str,
        body: bytes | None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> tuple[Response, list[Frame]]:
        """A call with a body of any bytes, read to the end of its response; the response and its frames."""
        async with connection(self.port) as conn:
            await conn.send(self.request(method, body, headers=headers, chunks=chunks))
            response = await conn.read_response()
        return response, frames_from(response.body)

    async def messages(self, reader: FrameReader, message_type: type[MessageT]) -> AsyncGenerator[MessageT]:
        """Every message; then returns after a good trailer frame or raises the RpcError in it."""
        if reader.status != 200:
            raise refused_by_http(reader.status, await reader.whole_body())
        async for found in reader.frames():
            if found.is_end:
                error = error_in(found)
                if error:
                    raise error
                assert await reader.next_frame() is None
                return
            yield self.codec.decode(found.data, message_type)
        raise EOFError("the body ended without a trailer frame")

    async def unary(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        call = self.server_stream(method, message, response_type, headers=headers, timeout_s=timeout_s)
        async with call as incoming:
            return _only([answer async for answer in incoming])

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
        body = frame(self.codec.encode(message))
        async with connection(self.port, receive_buffer_bytes=receive_buffer_bytes) as conn:
            await conn.send(self.request(method, body, headers=headers, timeout_s=timeout_s))
            reader = FrameReader(conn, await conn.read_head())
            async with aclosing(reader), aclosing(self.messages(reader, response_type)) as messages:
                yield Received(reader, messages)

    async def client_stream(
        self,
        method: str,
        messages: Outgoing,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        head = self.request(method, None, headers=headers, timeout_s=timeout_s, chunks=[])
        chunks = (frame(self.codec.encode(message)) async for message in as_they_come(messages))
        async with connection(self.port) as conn, sending(conn, head, chunks):
            reader = FrameReader(conn, await conn.read_head())
            async with aclosing(reader), aclosing(self.messages(reader, response_type)) as answers:
                return _only([answer async for answer in answers])


def _only(answers: list[MessageT]) -> MessageT:
    assert len(answers) == 1, answers
    return answers[0]
