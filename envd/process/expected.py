"""Subscribers whose connection broke: the bytes that stay for them, and until when."""

from __future__ import annotations

import time
from dataclasses import dataclass

from envd.config import Output

from .events import BEGINNING, Position
from .subscription import Subscription

_AT_ONCE = 32
# A client notices a broken connection when it next reads, so one that pauses is back that much later. Twice: its
# longest pause need not have been seen yet.
_PAUSES = 2.0


def return_wait_s(config: Output, pause_s: float) -> float:
    """Return how long a subscriber is waited for whose connection broke, and whose longest pause was so long."""
    return _within(config, config.return_s, pause_s)


def wait_after_kill_s(config: Output, pause_s: float) -> float:
    """Return the same for one that followed when the server was killed."""
    return _within(config, config.return_after_kill_s, pause_s)


def _within(config: Output, least_s: float, pause_s: float) -> float:
    return max(least_s, min(least_s + _PAUSES * pause_s, config.stall_s))


@dataclass(frozen=True, slots=True)
class Absent:
    """One that is expected back.

    Attributes:
        held: no byte behind this place goes; it may come back anywhere from here ...
        handed: ... to here, which is what it was handed; None if that is not known.
        read_to: the process may print as far beyond this as beyond a subscriber's place.
        until: monotonic seconds.
        resumes: its client names its place when it is back; None if that is not known.
    """

    held: Position
    handed: Position | None
    read_to: Position
    deadline: float
    resumes: bool | None

    def may_be(self, subscription: Subscription) -> bool:
        """Tell whether a subscriber that has just come may be this one."""
        if not subscription.resumes:
            return self.resumes is not True
        if self.handed is None:
            return True
        bounds = zip(self.held, subscription.position, self.handed, strict=True)
        return all(held <= place <= handed for held, place, handed in bounds)


class Expected:
    """The subscribers that are expected back. At most 32; one more removes the one with the earliest deadline."""

    def __init__(self) -> None:
        self._absent: list[Absent] = []

    def __len__(self) -> int:
        return len(self.now())

    def now(self) -> list[Absent]:
        """Return those whose time is not over."""
        if self._absent:
            now = time.monotonic()
            self._absent = [absent for absent in self._absent if absent.deadline > now]
        return self._absent

    def add(self, absent: Absent) -> None:
        """Expect a subscriber back."""
        self._absent = [*self.now(), absent]
        if len(self._absent) > _AT_ONCE:
            self._absent.remove(min(self._absent, key=lambda absent: absent.deadline))

    def add_starter(self, deadline: float) -> None:
        """Expect the client that had a process started: it has no byte yet, and every one is for it."""
        self.add(Absent(BEGINNING, BEGINNING, BEGINNING, deadline, None))

    def add_unknown(self, count: int, read_to: Position, deadline: float) -> None:
        """Expect the subscribers of an earlier server; their places are unknown."""
        for _ in range(min(count, _AT_ONCE)):
            self.add(Absent(BEGINNING, None, read_to, deadline, None))

    def welcome(self, subscription: Subscription) -> None:
        """Remove the entry of a subscriber that has come: of those it may be, the one handed most, known ones first."""
        those = [absent for absent in self.now() if absent.may_be(subscription)]
        if not subscription.resumes and any(absent.resumes is False for absent in those):
            # Without a place each of them would begin where this one does: behind what any of them has taken.
            self._absent = [absent for absent in self._absent if absent.resumes is not False]
        elif those:
            back = max(those, key=lambda absent: (absent.handed is not None, absent.handed or BEGINNING))
            self._absent.remove(back)
