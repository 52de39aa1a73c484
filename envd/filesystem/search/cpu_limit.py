"""Ends a step that takes too long, and a worker whose server is gone."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LEASH = 2
_TICK_S = 0.2
_STEP_S = 1.0
_LONGEST_STEP_S = 20.0
_GRACE_S = 1.0
_MIB = 1024 * 1024


class TooSlowError(Exception):
    """A step took more than the processor time it has."""


class CpuLimit:
    """Looks at the clock five times a second, also within a match: `re` lets signals in every few thousand steps.

    A step of a match can itself take long, so the kernel ends the process (SIGPROF) that has not listened for a second;
    and at once (SIGIO) if the server is gone. That holds the other end of the pipe from which standard error could be
    read here, and nothing ever happens in it but its end. (In the one that orders come through, the signal for an order
    may come after the order itself; and an end that could be written to is reported ready at once by gVisor.) A kernel
    that sends the signal all the same is not asked for it: then the looks are what finds the server gone.

    Args:
        server: the process without which a worker has nothing to do.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._limit: float | None = None

    def watch(self) -> None:
        """Begin to look."""
        signal.signal(signal.SIGALRM, self._look)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _TICK_S, _TICK_S)
        _be_told_of_the_end(_LEASH)
        self._check_server()  # it may have gone just before

    @contextmanager
    def step(self, size: int) -> Iterator[None]:
        """Do something that may have to be given up at any point: nothing that must not be left half done.

        Args:
            size: bytes it works on: it has a second for each mebibyte, twenty altogether.

        Raises:
            TooSlowError: it took too long.
        """
        limit_s = min(_STEP_S * max(size / _MIB, 1), _LONGEST_STEP_S)
        self._limit = time.process_time() + limit_s
        signal.setitimer(signal.ITIMER_PROF, limit_s + _GRACE_S)
        try:
            yield
        finally:
            self._limit = None
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _look(self, _: int, __: FrameType | None) -> None:
        self._check_server()
        if self._limit is not None and time.process_time() > self._limit:
            self._limit = None
            raise TooSlowError

    def _check_server(self) -> None:
        if os.getppid() != self._server:
            os._exit(os.EX_UNAVAILABLE)


def _be_told_of_the_end(pipe: int) -> None:
    """Have the kernel send SIGIO when the other end of a pipe is closed, unless it sends it without a reason."""
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    try:
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC)
        if signal.SIGIO in signal.sigpending():
            fcntl.fcntl(pipe, fcntl.F_SETFL, flags & ~os.O_ASYNC)
            signal.sigwait({signal.SIGIO})
    except OSError:
        pass  # no such signals here
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
