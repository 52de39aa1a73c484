"""An HTTP/2 connection joined, in the event loop, to the gRPC server's private socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from envd.config import Limits

from . import peer
from .ack_tracking import AckTracker
from .admission import Admission
from .http2 import AbuseError, Conversation, FromClient, FromServer, Streams, goaway
from .origins import Ingress

log = logging.getLogger("envd.transport")

_HIGH_BYTES = 256 * 1024  # waiting for the server: above that the client is not read
# In the kernel, on the way to the server. The default (212 992) does not hold the 256 KiB of one read: most are written
# in two pieces then, the second copied in between, and uploads take a quarter more of the processor.
_IN_KERNEL_BYTES = 1024 * 1024
_DROPPED_BYTES = 1024 * 1024  # of what a client still sends at the end; one that sends more does not listen
_LINGER_S = 2.0
# Of memory, the gRPC server's included: of a connection that does nothing, and of a stream.
SPLICED_BYTES = 48 * 1024
_STREAM_BYTES = 32 * 1024
_LINGERS = 30  # so often, while something written has not been taken


class Backend(Protocol):
    """The server behind the splice."""

    streams: Streams

    async def address(self) -> str:
        """Return the path of its socket, once it is listening there."""


class SpliceOwner(Protocol):
    """The listener, as connections need it."""

    admission: Admission

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a task."""

    def lost(self, connection: Spliced) -> None:
        """Forget a connection."""


class Spliced(asyncio.Protocol):
    """The client's side. Bounded: what one side does not take stops the reading of the other."""

    transport: asyncio.Transport

    def __init__(self, limits: Limits, owner: SpliceOwner, backend: Backend, place: Ingress) -> None:
        self._limits = limits
        self._place = place
        self._owner = owner
        self._backend = backend
        self._server: _ServerSide | None = None
        self._waiting = b""
        self._ending = False
        self._stalled = False
        self._server_blocked = False
        self._dropped = 0
        self._head_began_at = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection whose first bytes were read already."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0)  # so that "not blocked" means "all of it is in the kernel"
        self._sock = transport.get_extra_info("socket")
        self._delivery = AckTracker(self._sock)
        self._conversation = Conversation(self._backend.streams, self._delivery, self._place)
        self._requests = FromClient(self._conversation, self._limits.header_bytes)
        self._responses = FromServer(self._conversation)
        self._conversation.on_vouch = lambda: self._owner.admission.vouch(self)
        self._conversation.on_room = self._go_on_soon
        self._blocked = False
        transport.pause_reading()

    def begin(self) -> None:
        """Reach for the server; called once the connection is admitted."""
        self._owner.spawn(self._join(), name="splice")

    async def _join(self) -> None:
        """Connect to the server, which the first connection starts."""
        try:
            path = await self._backend.address()
            _, side = await asyncio.get_running_loop().create_unix_connection(lambda: _ServerSide(self), path)
        except OSError as exc:
            log.warning("cannot reach the gRPC server", extra={"error": str(exc)})
            self.transport.abort()
            return
        self._server = side
        if self.transport.is_closing():
            side.transport.abort()
            return
        waiting, self._waiting = self._waiting, b""
        self.transport.resume_reading()
        self.data_received(waiting)

    # Towards the server.

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._dropped += len(data)
            if self._dropped > _DROPPED_BYTES:
                self.transport.abort()
            return
        if not self._requests.in_head:
            self._head_began_at = time.monotonic()
        if self._server is None:
            self._waiting += data
            self._owner.admission.hold(self, self._holds())
            return
        try:
            self._server.transport.write(self._requests.feed(data))
        except AbuseError as exc:
            self._give_up(str(exc))
            return
        if self._requests.stalled != self._stalled:
            self._stalled = self._requests.stalled
            self._flow()
        self._owner.admission.hold(self, self._holds())

    def _holds(self) -> int:
        """Return how much memory this connection takes, roughly and rather too much."""
        conversation = self._conversation
        waiting = len(self._waiting) + self._requests.waiting
        return SPLICED_BYTES + _STREAM_BYTES * len(conversation) + conversation.held + 2 * waiting

    def _go_on_soon(self) -> None:
        if self._stalled:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._stalled and not self._ending and not self.transport.is_closing():
            self.data_received(b"")

    def cut_off(self) -> None:
        """End at once, without a word; what is held is freed now, for others are read in the same turn."""
        self.transport.abort()
        self._waiting = b""
        self._requests.drop()
        if self._server is not None:
            self._server.transport.abort()

    def server_blocked(self, *, blocked: bool) -> None:
        """Stop or go on reading the client, as its server cannot or can take more."""
        self._server_blocked = blocked
        self._flow()

    def _flow(self) -> None:
        if self._ending or self.transport.is_closing():
            return
        if self._server_blocked or self._stalled:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        return False  # a client that ends its side is gone: HTTP/2 has no half-closed connections

    # Towards the client.

    def from_server(self, data: bytes) -> None:
        """Pass on what the server sent."""
        if self._ending or self.transport.is_closing():
            return
        out = self._responses.feed(data)
        self._delivery.writing(len(out))
        self.transport.write(out)
        if not self._blocked and not self.transport.is_closing():
            self._delivery.flushed()

    def pause_writing(self) -> None:
        self._blocked = True
        if self._server is not None and not self._server.transport.is_closing():
            self._server.transport.pause_reading()

    def resume_writing(self) -> None:
        self._blocked = False
        self._delivery.flushed()
        if self._server is not None and not self._server.transport.is_closing():
            self._server.transport.resume_reading()

    # Ending.

    def _give_up(self, reason: str) -> None:
        """Tell the client why, if a frame can be sent now, and close."""
        log.warning("connection refused to go on", extra={"reason": reason})
        if self._responses.between_frames:
            self.transport.write(goaway(self._conversation.last, reason))
        self._linger()
        if self._server is not None:
            self._server.transport.abort()

    def server_lost(self) -> None:
        """End: the server has ended its side, having said why."""
        self._linger()

    def _linger(self) -> None:
        """Send what is written, and read on for a moment without looking: a reset would overtake it."""
        if self._ending or self.transport.is_closing():
            return
        self._ending = True
        self._conversation.end_all()
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has reset the connection already
                self.transport.write_eof()
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER_S, self._linger_on, _LINGERS)

    def _linger_on(self, times: int) -> None:
        """Wait longer for a client that has not taken all of it yet, but not for ever."""
        if self._blocked and times and not self.transport.is_closing():
            asyncio.get_running_loop().call_later(_LINGER_S, self._linger_on, times - 1)
        else:
            self.transport.abort()

    def close(self) -> None:
        """Close, flushing what has been written; a client that does not read it is cut off."""
        if self._server is not None:
            self._server.transport.abort()
        self.transport.close()
        asyncio.get_running_loop().call_later(_LINGER_S, self.transport.abort)

    def connection_lost(self, _: Exception | None) -> None:
        self._delivery.close()
        self._conversation.end_all()
        self._owner.lost(self)
        if self._server is not None:
            self._server.transport.abort()
        self._waiting = b""

    @property
    def busy(self) -> bool:
        """True while a call is being served."""
        return len(self._conversation) > 0

    def check(self, now: float) -> None:
        """Look after time limits; the listener calls this every few seconds. The server closes idle connections."""
        if self._ending or self.transport.is_closing():
            return
        if self._requests.in_head and now - self._head_began_at > self._limits.header_s:
            self._give_up(f"request header not complete after {self._limits.header_s:g} s")
        elif self.busy and peer.is_dead(self._sock, self._limits.peer_dead_s):
            log.info("peer is gone", extra={"silence_s": self._limits.peer_dead_s})
            self.transport.abort()


class _ServerSide(asyncio.Protocol):
    """The private socket's side."""

    transport: asyncio.Transport

    def __init__(self, client: Spliced) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_KERNEL_BYTES)

    def data_received(self, data: bytes) -> None:
        self._client.from_server(data)

    def pause_writing(self) -> None:
        self._client.server_blocked(blocked=True)

    def resume_writing(self) -> None:
        self._client.server_blocked(blocked=False)

    def connection_lost(self, _: Exception | None) -> None:
        self._client.server_lost()
