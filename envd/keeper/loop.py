"""One epoll, its callbacks and a few timers."""

from __future__ import annotations

import select
import time
from _collections_abc import Callable

from .notes import note


class Loop:
    """Calls back when a descriptor is ready or a time has come; single-threaded."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call `ready(events)` whenever fd is ready for one of `events` (EPOLL* bits)."""
        self._epoll.register(fd, events)
        self._ready[fd] = ready

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on a watched descriptor."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching; call it before the descriptor is closed."""
        if self._ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call `callback()` once the monotonic clock has reached `when` (seconds). For a handful of timers."""
        self._timers.append((when, callback))
        self._timers.sort(key=lambda timer: timer[0])

    def run(self, finished: Callable[[], bool]) -> None:
        """Serve until `finished()`."""
        while not finished():
            wait = self._timers[0][0] - time.monotonic() if self._timers else -1
            for fd, events in self._epoll.poll(max(wait, 0) if self._timers else -1):
                ready = self._ready.get(fd)
                if ready is not None:
                    _guard(ready, events)
            while self._timers and self._timers[0][0] <= time.monotonic():
                _guard(self._timers.pop(0)[1])


def _guard(callback: Callable[..., None], *arguments: int) -> None:
    """Run one callback. Whatever goes wrong in it, the keeper lives on: with it every process would lose its owner."""
    try:
        callback(*arguments)
    except Exception as exc:  # noqa: BLE001 - see above
        frame = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
        note("error", "keeper callback failed", line=frame.tb_lineno if frame is not None else 0)
