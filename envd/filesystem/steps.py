"""Steps of file work, and their limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_STUCK_S = 0.5  # without a nanosecond of processor time
_LONG_S = 1.0


@dataclass(frozen=True, slots=True)
class StepLimits:
    """Limits of the steps that run at once.

    Attributes:
        working: threads at work; one that is stuck does not count.
        threads: in all.
        device: steps on one device (a mounted file system) that are stuck or have just begun; those that take long but
            get on come on top, up to `working`.
        device_in_need: the same while many threads are stuck.
        waiting: steps on one device that wait for a thread.
        give_up_s: nobody waits longer for a step that does not get on.
    """

    working: int = 32
    threads: int = 128
    device: int = 16
    device_in_need: int = 4
    waiting: int = 8192
    give_up_s: float = 30.0


class Step(Generic[T]):
    """A step of file work, until no thread works on it any more.

    Attributes:
        answer: what its caller waits for. It fails when the work does not get on; the work itself may end later.
        paths: of what it touches.
        devices: on which that is thought to be.
        behind: a step that has to be over first.
        certain: it is never given up before it has begun.
        value: what came out, once it is over.
        over: no thread works on it, or ever will.
        stuck: it does not get on.
        long: it gets on, and has for a second.
    """

    __slots__ = (
        "answer",
        "began_at",
        "behind",
        "certain",
        "clock",
        "devices",
        "listeners",
        "long",
        "over",
        "paths",
        "queued_at",
        "spent_ns",
        "still_since",
        "stuck",
        "value",
        "work",
    )

    def __init__(
        self,
        work: Callable[[], T],
        paths: tuple[str, ...],
        devices: tuple[str, ...],
        behind: Step[Any] | None,
        *,
        certain: bool,
    ) -> None:
        self.answer: Future[T] = Future()
        self.work: Callable[[], T] | None = work
        self.paths = paths
        self.devices = devices
        self.behind = behind
        self.certain = certain
        self.value: T | None = None
        self.over = self.stuck = self.long = False
        self.listeners: list[Callable[[Step[T]], object]] = []
        self.queued_at = self.began_at = self.still_since = time.monotonic()
        self.clock: int | None = None
        self.spent_ns = -1

    @property
    def blocked(self) -> bool:
        """It does not get on, or waits for one that does not."""
        return self.stuck or (self.behind is not None and self.behind.blocked)

    @property
    def queued(self) -> bool:
        """It waits for a thread."""
        return self.clock is None and self.behind is None

    def begin(self, clock: int) -> None:
        """Note that a thread, whose processor time that clock tells, works on it."""
        self.began_at = self.still_since = time.monotonic()
        self.clock = clock

    def look(self, now: float) -> None:
        """See whether it gets on: whether its thread has had processor time since the last look.

        A thread in a call that the kernel does not finish has none; one that copies, however slowly, has some.
        """
        if self.clock is None:
            return  # it is on its way to a thread
        try:
            spent = time.clock_gettime_ns(self.clock)
        except OSError:
            return  # its thread has just ended
        if spent != self.spent_ns:
            self.spent_ns, self.still_since = spent, now
        self.stuck = now - self.still_since >= _STUCK_S
        self.long = not self.stuck and now - self.began_at >= _LONG_S
