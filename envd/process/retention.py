"""Finished programs: how long they stay connectable, and which go first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .process import Process

_KEYS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long, in seconds, and how many finished programs stay connectable."""

    seconds: float
    programs: int


class Archive:
    """The finished programs, oldest first, and the idempotency keys of those already forgotten.

    Args:
        forget: called to let go of a program.
        forget_key: called when a key's time is over too.
    """

    def __init__(
        self, retention: Retention, forget: Callable[[Process], None], forget_key: Callable[[str], None]
    ) -> None:
        self._retention = retention
        self._forget = forget
        self._forget_key = forget_key
        self._finished: dict[int, tuple[float, Process]] = {}
        self._keys: dict[str, float] = {}

    def add(self, running: Process) -> None:
        """Take a program that has just finished."""
        self._finished[running.identity.ident] = (running.finished_clock or time.monotonic(), running)

    def forget_late(self) -> None:
        """Forget what is over its time, and the oldest of what is too much."""
        late = time.monotonic() - self._retention.seconds
        while self._finished and (len(self._finished) > self._retention.programs or self._oldest() < late):
            if not self.forget_oldest():
                break
        while self._keys and (len(self._keys) > _KEYS_REMEMBERED or next(iter(self._keys.values())) < late):
            key = next(iter(self._keys))
            del self._keys[key]
            self._forget_key(key)

    def _oldest(self) -> float:
        return next(iter(self._finished.values()))[0]

    def forget_oldest(self) -> bool:
        """Forget the oldest program that nobody follows and nothing holds; False if there is none.

        Only if there is no other it is one whose follower is expected back.
        """
        last_resort: int | None = None
        for ident, (_, running) in self._finished.items():
            if running.output.open or running.output.audience:
                continue
            if not running.output.audience.expected:
                return self._forget_one(ident)
            last_resort = ident if last_resort is None else last_resort
        return last_resort is not None and self._forget_one(last_resort)

    def _forget_one(self, ident: int) -> bool:
        finished_at, running = self._finished.pop(ident)
        if running.command.key is not None:
            self._keys[running.command.key] = finished_at
        self._forget(running)
        return True
