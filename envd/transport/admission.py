"""Admission of connections: their number, and the memory of those that have not shown the access token yet.

A connection is a newcomer until it makes a call that needs the token, and is let in. All newcomers together may hold so
many bytes; when they hold more, those that hold most are cut off, and of equal ones the oldest. So a client that opens
connections or sends bodies without a token crowds out newcomers, and no other connection.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Protocol

log = logging.getLogger("envd.transport")

NEWCOMERS_BYTES = 8 * 1024 * 1024
_LEFT = 0.75  # of the bytes, after newcomers were cut off: so that this is not done for each byte


class AdmittedConnection(Protocol):
    """A connection that is counted."""

    @property
    def busy(self) -> bool:
        """True while a request is being served."""

    def cut_off(self) -> None:
        """End at once, without a word, and free what is held before this returns."""

    def check(self, now: float) -> None:
        """Look after time limits."""

    def close(self) -> None:
        """Close, flushing what has been written."""


class Admission:
    """Counts connections, their descriptors, and the bytes newcomers hold.

    Args:
        connections: at most.
        descriptors: at most, for all connections together.

    Attributes:
        released: bytes that newcomers held which are gone, since it was set to 0.
    """

    def __init__(self, connections: int, descriptors: int, newcomers_bytes: int = NEWCOMERS_BYTES) -> None:
        self.connections_limit = connections
        self._descriptors_limit = descriptors
        self._bytes_limit = newcomers_bytes
        self._connections: dict[AdmittedConnection, int] = {}  # and their descriptors
        self._newcomers: dict[AdmittedConnection, int] = {}  # and the bytes they hold; the oldest first
        self._descriptors = 0
        self._bytes = 0
        self.released = 0

    def __iter__(self) -> Iterator[AdmittedConnection]:
        return iter(list(self._connections))

    def __contains__(self, connection: object) -> bool:
        return connection in self._connections

    def is_newcomer(self, connection: AdmittedConnection) -> bool:
        """Tell whether a connection has not shown the token yet."""
        return connection in self._newcomers

    def admit(self, connection: AdmittedConnection, descriptors: int, held: int) -> bool:
        """Count a newcomer, in the place of older ones if it has to be; False if there is no room."""
        while (
            len(self._connections) >= self.connections_limit
            or self._descriptors + descriptors > self._descriptors_limit
        ):
            if not self.make_room():
                return False
        self._connections[connection] = descriptors
        self._newcomers[connection] = 0
        self._descriptors += descriptors
        self.hold(connection, held)
        return connection in self._connections

    def replace(
        self, connection: AdmittedConnection, successor: AdmittedConnection, descriptors: int, held: int
    ) -> bool:
        """Count another in the place of a newcomer, and as old as it; False if there is no room for what it needs."""
        more = descriptors - self._connections[connection]
        while self._descriptors + more > self._descriptors_limit:
            if not self.make_room() or connection not in self._connections:
                self.leave(connection)
                return False
        self._connections[successor] = descriptors
        self._descriptors += more
        del self._connections[connection]
        self._newcomers = {
            successor if newcomer is connection else newcomer: size for newcomer, size in self._newcomers.items()
        }
        self.hold(successor, held)
        return successor in self._connections

    def make_room(self) -> bool:
        """Cut off the newcomer that waits longest; False if there is none.

        The newest quarter is not taken for idle: what they sent may not have been read yet.
        """
        count = len(self._newcomers)
        settled = itertools.islice(self._newcomers, count - count // 4)
        idle = next((connection for connection in settled if not connection.busy), None)
        oldest = idle if idle is not None else next(iter(self._newcomers), None)
        if oldest is None:
            return False
        self._cut_off(oldest)
        return True

    def hold(self, connection: AdmittedConnection, held: int) -> None:
        """Note how many bytes a connection holds now; of one that is no newcomer they are not counted."""
        counted = self._newcomers.get(connection)
        if counted is None:
            return
        self._newcomers[connection] = held
        self._bytes += held - counted
        if self._bytes > self._bytes_limit:
            self._shed()

    def vouch(self, connection: AdmittedConnection) -> None:
        """Make a connection an ordinary one: no newcomer any more."""
        self._bytes -= self._newcomers.pop(connection, 0)

    def leave(self, connection: AdmittedConnection) -> None:
        """Forget a connection."""
        self.released += self._newcomers.get(connection, 0)
        self.vouch(connection)
        self._descriptors -= self._connections.pop(connection, 0)

    def _shed(self) -> None:
        for connection in sorted(self._newcomers, key=lambda connection: -self._newcomers[connection]):
            self._cut_off(connection)
            if self._bytes <= self._bytes_limit * _LEFT:
                break

    def _cut_off(self, connection: AdmittedConnection) -> None:
        self.leave(connection)
        log.warning("connection without a token cut off: others need its place")
        connection.cut_off()
