"""How many connections there may be, and what those may cost for which no access token speaks yet.

A connection is a newcomer until one of its calls is let in that not everybody may make. All newcomers together may hold
so many bytes; when they hold more, those that hold most are cut off, and of equal ones the oldest. So whoever opens
connections or sends bodies without a token crowds out their like, and nobody else.
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
        released: bytes that newcomers held which are gone, since somebody set it to 0.
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
        """Tell whether no token speaks for a connection yet."""
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

    def replace(self, guest: Guest, other: Guest, descriptors: int, held: int) -> bool:
        """Count another in the place of a newcomer, and as old as it; False if there is no room for what it needs."""
        more = descriptors - self._guests[guest]
        while self._descriptors + more > self._descriptors_limit:
            if not self.make_room() or guest not in self._guests:
                self.leave(guest)
                return False
        self._guests[other] = descriptors
        self._descriptors += more
        del self._guests[guest]
        self._newcomers = {other if one is guest else one: size for one, size in self._newcomers.items()}
        self.hold(other, held)
        return other in self._guests

    def make_room(self) -> bool:
        """Cut off the newcomer that waits longest; False if there is none.

        The newest quarter is not taken for idle: what they sent may not have been read yet.
        """
        count = len(self._newcomers)
        settled = itertools.islice(self._newcomers, count - count // 4)
        idle = next((one for one in settled if not one.busy), None)
        oldest = idle if idle is not None else next(iter(self._newcomers), None)
        if oldest is None:
            return False
        self._cut_off(oldest)
        return True

    def hold(self, guest: Guest, held: int) -> None:
        """Note how many bytes a connection holds now; of one that is no newcomer they are not counted."""
        before = self._newcomers.get(guest)
        if before is None:
            return
        self._newcomers[guest] = held
        self._bytes += held - before
        if self._bytes > self._bytes_limit:
            self._shed()

    def vouch(self, guest: Guest) -> None:
        """Take note that a connection is no newcomer any more."""
        self._bytes -= self._newcomers.pop(guest, 0)

    def leave(self, guest: Guest) -> None:
        """Forget a connection."""
        self.released += self._newcomers.get(guest, 0)
        self.vouch(guest)
        self._descriptors -= self._guests.pop(guest, 0)

    def _shed(self) -> None:
        for guest in sorted(self._newcomers, key=lambda one: -self._newcomers[one]):
            self._cut_off(guest)
            if self._bytes <= self._bytes_limit * _LEFT:
                break

    def _cut_off(self, guest: Guest) -> None:
        self.leave(guest)
        log.warning("connection without a token cut off: others need its place")
        guest.cut_off()
