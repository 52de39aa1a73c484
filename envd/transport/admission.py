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


class Guest(Protocol):
    """A connection."""

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
        self.connections = connections
        self._descriptors_limit = descriptors
        self._bytes_limit = newcomers_bytes
        self._guests: dict[Guest, int] = {}  # and their descriptors
        self._newcomers: dict[Guest, int] = {}  # and the bytes they hold; the oldest first
        self._descriptors = 0
        self._bytes = 0
        self.released = 0

    def __iter__(self) -> Iterator[Guest]:
        return iter(list(self._guests))

    def __contains__(self, guest: object) -> bool:
        return guest in self._guests

    def is_newcomer(self, guest: Guest) -> bool:
        """Tell whether a connection has not shown the token yet."""
        return guest in self._newcomers

    def admit(self, guest: Guest, descriptors: int, held: int) -> bool:
        """Count a newcomer, in the place of older ones if it has to be; False if there is no room."""
        while len(self._guests) >= self.connections or self._descriptors + descriptors > self._descriptors_limit:
            if not self.make_room():
                return False
        self._guests[guest] = descriptors
        self._newcomers[guest] = 0
        self._descriptors += descriptors
        self.hold(guest, held)
        return guest in self._guests

    def replace(self, guest: Guest, successor: Guest, descriptors: int, held: int) -> bool:
        """Count another in the place of a newcomer, and as old as it; False if there is no room for what it needs."""
        more = descriptors - self._guests[guest]
        while self._descriptors + more > self._descriptors_limit:
            if not self.make_room() or guest not in self._guests:
                self.leave(guest)
                return False
        self._guests[successor] = descriptors
        self._descriptors += more
        del self._guests[guest]
        self._newcomers = {
            successor if newcomer is guest else newcomer: size for newcomer, size in self._newcomers.items()
        }
        self.hold(successor, held)
        return successor in self._guests

    def make_room(self) -> bool:
        """Cut off the newcomer that waits longest; False if there is none.

        The newest quarter is not taken for idle: what they sent may not have been read yet.
        """
        count = len(self._newcomers)
        settled = itertools.islice(self._newcomers, count - count // 4)
        idle = next((guest for guest in settled if not guest.busy), None)
        oldest = idle if idle is not None else next(iter(self._newcomers), None)
        if oldest is None:
            return False
        self._cut_off(oldest)
        return True

    def hold(self, guest: Guest, held: int) -> None:
        """Note how many bytes a connection holds now; of one that is no newcomer they are not counted."""
        counted = self._newcomers.get(guest)
        if counted is None:
            return
        self._newcomers[guest] = held
        self._bytes += held - counted
        if self._bytes > self._bytes_limit:
            self._shed()

    def vouch(self, guest: Guest) -> None:
        """Make a connection an ordinary one: no newcomer any more."""
        self._bytes -= self._newcomers.pop(guest, 0)

    def leave(self, guest: Guest) -> None:
        """Forget a connection."""
        self.released += self._newcomers.get(guest, 0)
        self.vouch(guest)
        self._descriptors -= self._guests.pop(guest, 0)

    def _shed(self) -> None:
        for guest in sorted(self._newcomers, key=lambda guest: -self._newcomers[guest]):
            self._cut_off(guest)
            if self._bytes <= self._bytes_limit * _LEFT:
                break

    def _cut_off(self, guest: Guest) -> None:
        self.leave(guest)
        log.warning("connection without a token cut off: others need its place")
        guest.cut_off()
