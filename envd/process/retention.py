"""Finished processes: they stay connectable for a while, and the oldest go first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice

from envd.config import Output

from .process import Process

_KEYS_REMEMBERED = 10_000


class FinishedProcesses:
    """The finished processes, oldest first, and the idempotency keys of those already forgotten.

    Args:
        forget: called to forget a process.
        forget_key: called when a key's time is over too.
    """

    def __init__(self, config: Output, forget: Callable[[Process], None], forget_key: Callable[[str], None]) -> None:
        self._config = config
        self._forget = forget
        self._forget_key = forget_key
        self._finished: dict[int, tuple[float, Process]] = {}
        self._keys: dict[str, float] = {}

    def add(self, process: Process) -> None:
        """Add a process that has just finished."""
        self._finished[process.identity.ident] = (process.finished_clock or time.monotonic(), process)

    def forget_late(self) -> None:
        """Forget those whose time is over, and the first of what is too much."""
        late = time.monotonic() - self._config.finished_s
        over = [ident for ident, (finished_at, _) in self._finished.items() if finished_at < late]
        for ident in over:
            if not self._in_use(self._finished[ident][1]):
                self._forget_one(ident)
        too_many = len(self._finished) - self._config.finished_programs
        for ident in islice(self._free(), max(too_many, 0)):
            self._forget_one(ident)
        while self._keys and (len(self._keys) > _KEYS_REMEMBERED or next(iter(self._keys.values())) < late):
            key = next(iter(self._keys))
            del self._keys[key]
            self._forget_key(key)

    def forget_first(self) -> bool:
        """Forget the process that is least likely to be asked for; False if all are in use.

        The oldest whose end a client has been told; without one the oldest whose end nobody knows yet; in the end also
        one whose subscriber is expected back.
        """
        ident = next(self._free(), None)
        return ident is not None and self._forget_one(ident)

    def _free(self) -> Iterator[int]:
        """Yield those that are not in use, in the order in which they go."""
        untold: list[int] = []
        expected: list[int] = []
        for ident, (_, process) in list(self._finished.items()):
            if self._in_use(process):
                continue
            if process.output.subscribers.expected:
                expected.append(ident)
            elif process.end_told:
                yield ident
            else:
                untold.append(ident)
        yield from untold
        yield from expected

    @staticmethod
    def _in_use(process: Process) -> bool:
        return bool(process.output.open or process.output.subscribers)

    def _forget_one(self, ident: int) -> bool:
        finished_at, process = self._finished.pop(ident)
        if process.command.key is not None:
            self._keys[process.command.key] = finished_at
        self._forget(process)
        return True
