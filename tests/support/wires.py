"""What tests of behaviour need of a wire, so that each is written once and runs over all of them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)
MessageT_co = TypeVar("MessageT_co", bound=Message, covariant=True)
Outgoing = Iterable[Message] | AsyncIterable[Message]


class RpcError(Exception):
    """An error a call ended with; `code` by the name it has in Connect, "not_found"."""

    def __init__(self, code: str, message: str, note: str = "") -> None:
        super().__init__(f"{code}: {message}{note and f' ({note})'}")
        self.code = code
        self.message = message


def refused_by_http(status: int, body: bytes) -> RpcError:
    """The error a client makes of an HTTP status where it looked for a wire's own error."""
    codes = {400: "invalid_argument", 401: "unauthenticated", 404: "unimplemented", 413: "resource_exhausted"}
    message = json.loads(body)["message"] if body.startswith(b"{") else body.decode()
    return RpcError(codes.get(status, "unknown"), message, f"HTTP {status}")


class Incoming(Protocol[MessageT_co]):
    """The messages of a response as they arrive.

    Iteration ends after a good end of the stream and raises RpcError after a bad one, EOFError where it was cut off.
    """

    def __aiter__(self) -> AsyncIterator[MessageT_co]: ...

    async def __anext__(self) -> MessageT_co: ...

    def leave(self) -> None:
        """Go away in the middle without a word: a reset, or whatever comes closest to it."""


class Wire(Protocol):
    """Calls the methods of one daemon; `method` is "package.Service/Method", `timeout_s` the deadline of the call."""

    @property
    def port(self) -> int: ...

    def with_headers(self, headers: Mapping[str, str]) -> Wire:
        """The same with headers that go with every call."""

    async def unary(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        """One message there and one back; RpcError if that is the answer."""

    def server_stream(
        self,
        method: str,
        message: Message,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AbstractAsyncContextManager[Incoming[MessageT]]:
        """One message there and many back; leaving the block ends the call."""

    async def client_stream(
        self,
        method: str,
        messages: Outgoing,
        response_type: type[MessageT],
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> MessageT:
        """Many messages there, sent as they come, and one back; RpcError if that is the answer."""


OpenWire = Callable[[int], AbstractAsyncContextManager[Wire]]
"""Opens one kind of wire to the daemon on a port."""


def basic(user: str, password: str = "") -> dict[str, str]:
    """The header that names the user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def as_they_come(messages: Outgoing) -> AsyncIterator[Message]:
    """Messages of either kind of iterable."""
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message
