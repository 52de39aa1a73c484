"""A worker's clock: it ends steps that take too long, and the worker itself when its server is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TICK_S = 0.2
_STEP_S = 2.0
_LONGEST_STEP_S = 20.0
_MIB = 1024 * 1024


class TooSlowError(Exception):
    """A step took more than the processor time it has."""


class Patience:
    """Looks at the clock five times a second, also within a match: `re` lets signals in every few thousand steps.

    Args:
        server: the process without which a worker has nothing to do.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._limit: float | None = None

    def watch(self) -> None:
        """Begin to look."""
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)

    @contextmanager
    def step(self, size: int) -> Iterator[None]:
        """Do something that may have to be given up at any point: nothing that must not be left half done.

        Args:
            size: bytes it works on: it has two seconds for each mebibyte, twenty altogether.

        Raises:
            TooSlowError: it took too long.
        """
        self._limit = time.process_time() + min(_STEP_S * max(size / _MIB, 1), _LONGEST_STEP_S)
        try:
            yield
        finally:
            self._limit = None

    def _look(self, _: int, __: FrameType | None) -> None:
        if os.getppid() != self._server:
            os._exit(os.EX_UNAVAILABLE)
        if self._limit is not None and time.process_time() > self._limit:
            self._limit = None
            raise TooSlowError
