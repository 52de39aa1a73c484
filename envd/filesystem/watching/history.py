"""A bounded queue of the events of one watch that a client may still want."""

from __future__ import annotations

from collections import deque
from itertools import islice

from .events import Event, EventKind

_COALESCED = (EventKind.WRITE, EventKind.CHMOD)
# So many may wait in every watch, however many wait in all together.
_FEW = 256


class Backlog:
    """The number of events that all watches together may still have."""

    def __init__(self, events: int) -> None:
        self.left = events


class History:
    """Changes by number. Those that were taken stay a while if they are `kept`, for a client that resumes.

    Attributes:
        first: number of the oldest that is there.
        taken: number of the last that was handed out.
    """

    def __init__(self, backlog: Backlog, *, limit: int, kept: int) -> None:
        self._backlog = backlog
        self._limit = limit
        self._kept = kept
        self._events: deque[Event] = deque()
        self.first = 1
        self.taken = 0

    @property
    def last(self) -> int:
        """Number of the newest, 0 before the first."""
        return self.first + len(self._events) - 1

    @property
    def full(self) -> bool:
        """So many wait to be taken that there can be no more: what happens then must be found out later, by a scan."""
        waiting = self.last - self.taken
        return waiting >= self._limit or (self._backlog.left <= 0 and waiting >= _FEW)

    def add(self, kind: int, name: str, state: int) -> Event | None:
        """Append a change; None if it says the same as the last one, which was not taken yet."""
        number = self.last + 1
        if kind in _COALESCED and number > self.taken + 1:
            _, before, same, _ = self._events[-1]
            if same == name and before == kind:
                return None
        event = (number, int(kind), name, state)
        self._events.append(event)
        self._backlog.left -= 1
        return event

    def restore(self, event: Event) -> None:
        """Append a change as it was once before; nothing was taken."""
        if not self._events:
            self.first, self.taken = event[0], event[0] - 1
        self._events.append(event)
        self._backlog.left -= 1

    def take(self, limit: int) -> list[Event]:
        """Return what comes next, empty if everything was taken."""
        start = self.taken + 1 - self.first
        events = list(islice(self._events, start, start + limit))
        self.taken += len(events)
        self._trim()
        return events

    def peek(self, limit: int | None = None) -> list[Event]:
        """Return what is there from the oldest on, at most so much."""
        return list(islice(self._events, limit))

    def rewind(self, after: int) -> bool:
        """Have what comes after a number taken anew; False if it is not there any more, or was never there."""
        if not self.first - 1 <= after <= self.last:
            return False
        self.taken = after
        return True

    def drop(self, upto: int) -> None:
        """Drop changes up to a number."""
        while self._events and self.first <= upto:
            self._events.popleft()
            self._backlog.left += 1
            self.first += 1
        self.taken = max(self.taken, self.first - 1)

    def skip(self, number: int) -> None:
        """Go on counting behind a number; for a history that has lost what came before."""
        self.drop(self.last)
        self.first, self.taken = number + 1, number

    def _trim(self) -> None:
        self.drop(self.taken - self._kept)
