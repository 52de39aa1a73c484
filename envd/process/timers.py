"""When the daemon ends a program by itself: deadline, wall-clock and idle timeouts, with grace."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable

from envd.errors import EnvdError

from .events import Cause
from .process import Process

SignalTree = Callable[[Process, int], Awaitable[object]]

_LONGEST_SLEEP_S = 3600.0
_RETRY_S = 0.5


async def enforce(running: Process, signal_tree: SignalTree) -> None:
    """Wait until a limit of the program passes, then end its tree; returns when it has ended or has no limit.

    The limits count from the start of the program on the machine's monotonic clock, so a server that took over from
    another one goes on counting.
    """
    while running.alive:
        due = _next_due(running)
        if due is None:
            return
        when, cause = due
        wait_s = when - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, _LONGEST_SLEEP_S))
        elif running.alive:
            grace_s = 0.0 if cause == Cause.DEADLINE else running.command.timeouts.grace_ms / 1000
            await end_tree(running, cause, grace_s, signal_tree)
            return


def is_limited(running: Process) -> bool:
    """Tell whether the daemon may have to end this program by itself."""
    return _next_due(running) is not None


def _next_due(running: Process) -> tuple[float, Cause] | None:
    """Return the limit that passes first."""
    timeouts, started = running.command.timeouts, running.identity.started_clock
    due: list[tuple[float, Cause]] = []
    if running.command.deadline_ms:
        due.append((started + running.command.deadline_ms / 1000, Cause.DEADLINE))
    if timeouts.wall_ms:
        due.append((started + timeouts.wall_ms / 1000, Cause.WALL_TIMEOUT))
    if timeouts.idle_ms:
        due.append((running.active_at + timeouts.idle_ms / 1000, Cause.IDLE_TIMEOUT))
    return min(due, default=None)


async def end_tree(running: Process, cause: Cause, grace_s: float, signal_tree: SignalTree) -> None:
    """End a program and everything it started: SIGTERM, `grace_s` seconds, SIGKILL. Without grace SIGKILL at once.

    In a terminal SIGHUP goes with the first: interactive shells ignore SIGTERM. So has it systemd.kill(5), SendSIGHUP.
    """
    running.blame(cause)
    if grace_s > 0:
        with contextlib.suppress(EnvdError):  # those it could not reach get SIGKILL
            await signal_tree(running, signal.SIGTERM)
            if running.terminal is not None:
                await signal_tree(running, signal.SIGHUP)
        try:
            async with asyncio.timeout(grace_s):
                await running.gone.wait()
        except TimeoutError:
            pass
    while True:
        try:
            await signal_tree(running, signal.SIGKILL)
        except EnvdError:
            await asyncio.sleep(_RETRY_S)  # short of descriptors, say: a limit holds all the same
        else:
            return
