"""Deadlines for blocking reads, which grpc has none for: one thread that cancels what is late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Seconds the thread waits for something to watch before it ends.
_IDLE_S = 5.0


class Watched:
    """One wait with a deadline.

    Attributes:
        deadline: on the monotonic clock.
        expired: it passed, and the wait was cancelled.
    """

    __slots__ = ("_dog", "cancel", "deadline", "expired")

    def __init__(self, dog: Watchdog, cancel: Callable[[], object], deadline: float) -> None:
        self._dog = dog
        self.cancel = cancel
        self.deadline = deadline
        self.expired = False

    def over(self) -> None:
        """It did not come to that."""
        self._dog.forget(self)


class Watchdog:
    """Cancels waits whose deadlines have passed. As many as there are blocked threads, so never many."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._watched: set[Watched] = set()
        self._next = float("inf")
        self._running = False

    def watch(self, cancel: Callable[[], object], timeout_s: float) -> Watched:
        """Call `cancel` after that time, unless the wait is over before."""
        watched = Watched(self, cancel, time.monotonic() + timeout_s)
        with self._changed:
            self._watched.add(watched)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="envd-sdk-deadlines", daemon=True).start()
            elif watched.deadline < self._next:
                self._changed.notify()
        return watched

    def forget(self, watched: Watched) -> None:
        with self._changed:
            self._watched.discard(watched)

    def _run(self) -> None:
        while True:
            with self._changed:
                late = self._take_late()
                if not late and not self._wait():
                    self._running = False
                    return
            for watched in late:
                watched.cancel()

    def _take_late(self) -> list[Watched]:
        now = time.monotonic()
        late = [watched for watched in self._watched if watched.deadline <= now]
        for watched in late:
            watched.expired = True
            self._watched.discard(watched)
        return late

    def _wait(self) -> bool:
        """Sleep until the next deadline, or until an earlier one comes; False if there was nothing for a while."""
        self._next = min((watched.deadline for watched in self._watched), default=float("inf"))
        if self._watched:
            self._changed.wait(max(0.0, self._next - time.monotonic()))
            return True
        # Looked at again by every new wait, since it is later than any deadline.
        return self._changed.wait(_IDLE_S) or bool(self._watched)
