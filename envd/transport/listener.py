"""The one port: accept, look at the first bytes, hand the connection over, and look after all of them."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from envd.config import Limits

from . import peer
from .accepting import Acceptor, SpawnTask
from .admission import Admission
from .departures import Departures
from .exchange import Exchange
from .http1 import CONNECTION_BYTES, Connection
from .origins import Ingress
from .splice import SPLICED_BYTES, Backend, Spliced

log = logging.getLogger("envd.transport")

_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_CHECK_INTERVAL_S = 5.0
_REFUSED_AT_MOST = 256
_LOST_MANY = 32
_RELEASED_MANY = 1024 * 1024
_HTTP2_DESCRIPTORS = 3  # the client's, and both ends of the private socket
_QUIET_INTERVAL_S = 0.02


class Listener:
    """Serves connections on sockets that are already listening.

    HTTP/2 goes to the backend, everything else is HTTP/1.1. At most `connections` at once, and `descriptors` for them.
    One more takes the place of one that has not shown the token, or gets a 503 and is closed; when 256 of those linger,
    further ones are closed without an answer.
    """

    def __init__(
        self,
        handle: Callable[[Exchange], Awaitable[None]],
        limits: Limits,
        spawn: SpawnTask,
        *,
        descriptors: int,
        http2: Backend,
    ) -> None:
        self.handle = handle
        self.limits = limits
        self.http2 = http2
        self.departures = Departures()
        self._spawn = spawn
        self._descriptors = descriptors
        self.admission = Admission(limits.connections, max(descriptors // 4, 16))
        self._refused: set[Connection] = set()
        self._acceptors: list[Acceptor] = []
        self._lost = 0

    async def start(self, sockets: list[socket.socket]) -> None:
        """Begin to accept."""
        for sock in sockets:
            peer.prepare(sock)
            sock.setblocking(False)
            first = functools.partial(_FirstBytes, self, peer.place_of(sock))
            acceptor = Acceptor(sock, first, self._spawn, self.admission.make_room, self._descriptors)
            acceptor.start()
            self._acceptors.append(acceptor)

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a connection's serving task."""
        return self._spawn(job, name=name)

    def admit(self, connection: Connection) -> None:
        """Count a new connection, or refuse it."""
        if self.admission.admit(connection, 1, CONNECTION_BYTES):
            return
        if len(self._refused) < _REFUSED_AT_MOST:
            self._refused.add(connection)
            limit = self.admission.connections_limit
            connection.refuse(503, f"too many connections: the limit is {limit}, try again later")
        else:
            connection.transport.abort()

    def replace(self, connection: Connection, successor: Spliced) -> bool:
        """Count another in place of one that was admitted; False if there is no room for what it needs."""
        return self.admission.replace(connection, successor, _HTTP2_DESCRIPTORS, SPLICED_BYTES)

    def is_refused(self, connection: Connection) -> bool:
        """Tell whether a connection was not admitted."""
        return connection not in self.admission

    def lost(self, connection: Connection | Spliced) -> None:
        """Forget a connection."""
        self._lost += 1
        self.admission.leave(connection)
        self._refused.discard(connection)

    async def watch(self) -> None:
        """Apply time limits to all connections, for as long as the daemon runs; give back what many have used."""
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            now = time.monotonic()
            for connection in self.admission:
                connection.check(now)
            if self._lost >= _LOST_MANY or self.admission.released >= _RELEASED_MANY:
                self._lost = self.admission.released = 0
                await asyncio.to_thread(_give_memory_back)

    async def stop_accepting(self) -> None:
        """Close the sockets; connections go on."""
        for acceptor in self._acceptors:
            acceptor.close()

    async def quiet(self, timeout_s: float) -> None:
        """Wait until no request is being served, at most `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while any(connection.busy for connection in self.admission) and time.monotonic() < deadline:
            await asyncio.sleep(_QUIET_INTERVAL_S)

    def close(self) -> None:
        """Close every connection, flushing what has been written."""
        for connection in self.admission:
            connection.close()
        self.departures.close()


def _give_memory_back() -> None:
    """Give unused memory that malloc holds back to the kernel; does nothing with another C library than glibc.

    Takes milliseconds, without the interpreter's lock: call it in a thread. Source: malloc_trim(3).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _FirstBytes(asyncio.Protocol):
    """Looks at how a client begins, then makes way for the protocol it speaks."""

    _transport: asyncio.Transport
    _connection: Connection

    def __init__(self, listener: Listener, place: Ingress) -> None:
        self._listener = listener
        self._place = place
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connection = Connection(self._listener, self._place)
        self._connection.connection_made(transport)
        self._listener.admit(self._connection)

    def data_received(self, data: bytes) -> None:
        self._received += data
        beginning = self._received[: len(_HTTP2_PREFACE)]
        if self._listener.is_refused(self._connection) or not _HTTP2_PREFACE.startswith(beginning):
            self._make_way(self._connection)
        elif len(beginning) == len(_HTTP2_PREFACE):
            spliced = Spliced(self._listener.limits, self._listener, self._listener.http2, self._place)
            spliced.connection_made(self._transport)
            if self._listener.replace(self._connection, spliced):
                spliced.begin()
            else:
                spliced.cut_off()
            self._make_way(spliced)
        else:
            self._connection.begin_head()

    def _make_way(self, protocol: Connection | Spliced) -> None:
        self._transport.set_protocol(protocol)
        protocol.data_received(self._received)

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
