"""Loads grpc when it is first needed, with the same options for asyncio and threads, and watches for forks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from envd_sdk._wire.address import Address
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.forking import fork
from envd_sdk._wire.methods import Method

if TYPE_CHECKING:
    import grpc

_FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
_TRUE = ("true", "1", "yes")

# Bytes of the largest answer: a listing (docs/contract.md), with room to spare.
_LARGEST_ANSWER = 600 * 1024 * 1024
_LARGEST_REQUEST = 64 * 1024 * 1024

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", _LARGEST_ANSWER),
    ("grpc.max_send_message_length", _LARGEST_REQUEST),
    # One connection for each sandbox object, closed with it.
    ("grpc.use_local_subchannel_pool", 1),
    # Trying again is decided in retrying.py, which knows what may be done twice.
    ("grpc.enable_retries", 0),
    # A daemon's server that was killed is back in a fraction of a second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A peer that is gone without a word is noticed within 20 s while something waits for it; the first is grpc's least.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A window that does not grow: what the daemon has sent and this side has not read is then known to it, and never
    # more than it keeps of a finished command: bytes that a proxy between had taken are not lost with the connection.
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
)


def load() -> Any:
    """grpc, imported now if it has not been.

    Raises:
        WireError: failed_precondition, in a forked child in which grpc would hang.
    """
    if fork.trouble:
        raise WireError(
            "failed_precondition",
            f"this process was forked {fork.trouble}: start processes with multiprocessing's 'spawn', or fork before "
            "the first call to a sandbox",
        )
    if "grpc" not in sys.modules:
        os.environ.setdefault(_FORK_SUPPORT, "1")
        # grpc's own lines about what its fork handlers skip are no news to a caller.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc  # noqa: PLC0415 - it takes as long to load as all else together

    fork.survivable = fork.survivable and os.environ.get(_FORK_SUPPORT, "").lower() in _TRUE
    return grpc


def load_aio() -> Any:
    """grpc.aio; a child of this process cannot use grpc afterwards, for its thread does not survive a fork."""
    load()
    import grpc.aio  # noqa: PLC0415 - as above

    fork.survivable = False
    return grpc.aio


def _serialized(message: Any) -> bytes:
    """A message as it goes over the wire; content is in that form already."""
    return message if type(message) is bytes else message.SerializeToString()


class Channel:
    """A connection of the library's, and what makes its calls: made once for each method, for that takes a while."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._senders: dict[str, Any] = {}

    def sender(self, kind: str, method: Method[Any, Any]) -> Any:
        """What calls a method: `kind` is the library's word for what streams."""
        sender = self._senders.get(method.path)
        if sender is None:
            sender = self._senders[method.path] = getattr(self.channel, kind)(
                method.path,
                request_serializer=_serialized,
                response_deserializer=method.response.FromString,
            )
        return sender


def options(address: Address) -> list[tuple[str, Any]]:
    channel_options: list[tuple[str, Any]] = list(_OPTIONS)
    if address.proxy is not None:
        channel_options.append(("grpc.http_proxy", address.proxy))
    elif address.local:
        channel_options.append(("grpc.enable_http_proxy", 0))
    return channel_options


def wire_error(error: grpc.RpcError) -> WireError:
    """A failed call of the library's, as the rest of the SDK knows it."""
    # Every error of a call is a grpc.Call, too, which the types do not say.
    name = error.code().name.lower()
    details = error.details() or ""
    return WireError("canceled" if name == "cancelled" else name, details)
