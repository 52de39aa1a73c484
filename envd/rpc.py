"""The interface between services and transports: calls, methods and the table of methods.

A service is a plain object with one function per RPC of the contract. `bind` checks it against the contract at
start-up; every transport serves the resulting table and knows no service by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


def _nothing() -> object:
    return None


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata that a handler sends beside its messages: name and value pairs, in the order they were added.

    Names are lower-case ASCII; the value of a name that ends in "-bin" is base64, of any other printable ASCII.
    `headers` go out with the first message, so what is added after it is lost; `trailers` go out with the end, also
    with an error.
    """

    headers: list[tuple[str, str]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its handler sees it.

    Attributes:
        username: the name the client gave, already known to exist; None if it gave none.
        headers: request headers by lower-case name; several of one name are joined with ", ".
        timeout_s: the client's deadline in seconds from now, None without one. The transport ends the call itself.
        acknowledged: the position of the last `Encoded` that the peer's kernel has acknowledged as a whole, None if
            none was. Stays callable after the call and after its connection.
        consumed: the same of the last one that the peer's application surely has: what its library has read ahead
            is lost if the connection breaks. Never beyond `acknowledged`, and the same where the wire says no more.
        unread_at_most: so many acknowledged bytes the peer may not have read, where the wire does not say; else 0.
        response: what the handler sends beside its messages.
    """

    username: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    acknowledged: Callable[[], object] = _nothing
    consumed: Callable[[], object] = _nothing
    unread_at_most: int = 0
    response: Metadata = field(default_factory=Metadata)


class Encoded(Protocol):
    """A run of messages that a service encodes itself, because the general codec is too slow for bulk data."""

    @property
    def position(self) -> object:
        """Opaque to the transport; handed back by Call.acknowledged and Call.consumed."""

    def proto(self) -> Sequence[bytes]:
        """Return each message in protobuf's binary encoding."""

    def json(self) -> Sequence[bytes]:
        """Return each message in protobuf's JSON encoding, UTF-8."""


Reply = Message | Encoded

_KEEPALIVE_S = 90.0
_KEEPALIVE_HEADER = "keepalive-ping-interval"
_KEEPALIVE_DIGITS = 9


def keepalive_from(headers: Mapping[str, str]) -> float:
    """Return the seconds between keep-alive messages; 90 where the client gives no positive whole number."""
    text = headers.get(_KEEPALIVE_HEADER, "").strip()
    if text.isascii() and text.isdigit() and len(text) <= _KEEPALIVE_DIGITS and int(text) > 0:
        return float(int(text))
    return _KEEPALIVE_S


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: where it is served, what it takes (at most `message_bytes` each) and gives, and what does it.

    The function takes the request message, or an async iterator of them if `client_streaming`, and the Call. It
    returns an awaitable of the response, a message or an Encoded of exactly one, or an async generator of replies if
    `server_streaming`. With both, the iterator yields what the client has sent so far while replies go out: the wire
    carries both directions at once.
    """

    path: str
    function: Callable[..., Any]
    client_streaming: bool
    server_streaming: bool
    request: type[Message]
    response: type[Message]
    message_bytes: int


MethodTable = Mapping[str, Method]
"""Methods by their path, "/package.Service/Method"."""


def bind(
    service: ServiceDescriptor, *parts: object, message_bytes: int, larger: Mapping[str, int] | None = None
) -> MethodTable:
    """Match the functions (snake_case) of some objects to the RPCs of a service.

    Args:
        service: from the contract.
        parts: each RPC is a function of exactly one of them.
        message_bytes: the largest request message, also decompressed. Decoding holds the loop, so it is small ...
        larger: ... but for RPCs, by name, that carry more.

    Raises:
        TypeError: an RPC is missing, or there twice.
    """
    sizes = larger or {}
    methods = [
        _bind_method(service, method, parts, sizes.get(method.name, message_bytes)) for method in service.methods
    ]
    return {method.path: method for method in methods}


def _bind_method(
    service: ServiceDescriptor, method: MethodDescriptor, parts: tuple[object, ...], message_bytes: int
) -> Method:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
    having = [part for part in parts if hasattr(part, name)]
    if len(having) != 1:
        among = ", ".join(type(part).__name__ for part in having or parts)
        raise TypeError(f"{'all of' if having else 'none of'} {among} has {name}, which {service.full_name} declares")
    return Method(
        path=f"/{service.full_name}/{method.name}",
        function=getattr(having[0], name),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        message_bytes=message_bytes,
    )
