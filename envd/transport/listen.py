"""The one port: accept, look at the first bytes, hand the connection over, and look after all of them."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from . import memory, peer
from .departures import Departures
from .exchange import Exchange
from .http1 import Connection
from .origins import Place
from .patience import Patience
from .splice import Backend, Spliced

log = logging.getLogger("envd.transport")

_HTTP2_PREFACE = b"PRI * HTTP/2.0"
_CHECK_INTERVAL_S = 5.0
_REFUSED_AT_MOST = 256
_LOST_MANY = 256
_QUIET_INTERVAL_S = 0.02


class Spawn(Protocol):
    """Runs a task that outlives whoever asked for it."""

    def __call__(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a job."""


class Listener:
    """Serves connections on sockets that are already listening.

    HTTP/2 goes to the backend, everything else is HTTP/1.1. At most `connections` at once. One more gets a 503 and is
    closed; when 256 of those linger, further ones are closed without an answer.
    """

    def __init__(
        self,
        handle: Callable[[Exchange], Awaitable[None]],
        patience: Patience,
        spawn: Spawn,
        *,
        connections: int,
        http2: Backend,
    ) -> None:
        self.handle = handle
        self.patience = patience
        self.http2 = http2
        self.departures = Departures()
        self._spawn = spawn
        self._limit = connections
        self._open: set[Connection | Spliced] = set()
        self._refused: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._lost = 0

    async def start(self, sockets: list[socket.socket]) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            peer.prepare(sock)
            first = functools.partial(_FirstBytes, self, peer.place_of(sock))
            self._servers.append(await loop.create_server(first, sock=sock, backlog=4096))

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a connection's serving task."""
        return self._spawn(job, name=name)

    def admit(self, connection: Connection) -> None:
        """Count a new connection, or refuse it."""
        if len(self._open) < self._limit:
            self._open.add(connection)
        elif len(self._refused) < _REFUSED_AT_MOST:
            self._refused.add(connection)
            connection.refuse(503, f"too many connections: the limit is {self._limit}, try again later")
        else:
            connection.transport.abort()

    def replace(self, connection: Connection, other: Spliced) -> None:
        """Count another in place of one that was admitted."""
        self._open.remove(connection)
        self._open.add(other)

    def is_refused(self, connection: Connection) -> bool:
        """Tell whether a connection was not admitted."""
        return connection not in self._open

    def lost(self, connection: Connection | Spliced) -> None:
        """Forget a connection."""
        self._lost += 1
        self._open.discard(connection)
        self._refused.discard(connection)

    async def watch(self) -> None:
        """Apply time limits to all connections, for as long as the daemon runs; give back what many have used."""
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            now = time.monotonic()
            for connection in list(self._open):
                connection.check(now)
            if self._lost >= _LOST_MANY:
                self._lost = 0
                await asyncio.to_thread(memory.give_back)

    async def stop_accepting(self) -> None:
        """Close the sockets; connections go on."""
        for server in self._servers:
            server.close()

    async def quiet(self, timeout_s: float) -> None:
        """Wait until no request is being served, at most `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while any(connection.busy for connection in self._open) and time.monotonic() < deadline:
            await asyncio.sleep(_QUIET_INTERVAL_S)

    def close(self) -> None:
        """Close every connection, flushing what has been written."""
        for connection in list(self._open):
            connection.close()
        self.departures.close()


class _FirstBytes(asyncio.Protocol):
    """Looks at how a client begins, then makes way for the protocol it speaks."""

    _transport: asyncio.Transport
    _connection: Connection

    def __init__(self, listener: Listener, place: Place) -> None:
        self._listener = listener
        self._place = place
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connection = Connection(self._listener, self._place)
        self._connection.connection_made(transport)
        self._listener.admit(self._connection)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        beginning = self._seen[: len(_HTTP2_PREFACE)]
        if self._listener.is_refused(self._connection) or not _HTTP2_PREFACE.startswith(beginning):
            self._make_way(self._connection)
        elif len(beginning) == len(_HTTP2_PREFACE):
            spliced = Spliced(self._listener.patience, self._listener, self._listener.http2)
            self._listener.replace(self._connection, spliced)
            spliced.connection_made(self._transport)
            self._make_way(spliced)
        else:
            self._connection.begin_head()

    def _make_way(self, protocol: Connection | Spliced) -> None:
        self._transport.set_protocol(protocol)
        protocol.data_received(self._seen)

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
