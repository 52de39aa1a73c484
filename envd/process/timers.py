"""Limits of time after which the daemon ends a process: deadline, wall-clock and idle timeouts, with grace."""

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


async def enforce(process: Process, signal_tree: SignalTree) -> None:
    """Wait until a limit of the process passes, then end its tree; returns when it has ended or has no limit.

    The limits count from the start of the process on the machine's monotonic clock, so a server that took over from
    another one goes on counting.
    """
    while process.alive:
        due = _next_due(process)
        if due is None:
            return
        when, cause = due
        wait_s = when - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, _LONGEST_SLEEP_S))
        elif process.alive:
            grace_s = 0.0 if cause == Cause.DEADLINE else process.command.timeouts.grace_ms / 1000
            await end_tree(process, cause, grace_s, signal_tree)
            return


def is_limited(process: Process) -> bool:
    """Tell whether the daemon may have to end this process by itself."""
    return _next_due(process) is not None


def _next_due(process: Process) -> tuple[float, Cause] | None:
    """Return the limit that passes first."""
    timeouts, started = process.command.timeouts, process.identity.started_clock
    due: list[tuple[float, Cause]] = []
    if process.command.deadline_ms:
        due.append((started + process.command.deadline_ms / 1000, Cause.DEADLINE))
    if timeouts.wall_ms:
        due.append((started + timeouts.wall_ms / 1000, Cause.WALL_TIMEOUT))
    if timeouts.idle_ms:
        due.append((process.active_at + timeouts.idle_ms / 1000, Cause.IDLE_TIMEOUT))
    return min(due, default=None)


async def end_tree(process: Process, cause: Cause, grace_s: float, signal_tree: SignalTree) -> None:
    """End a process and everything it started: SIGTERM, `grace_s` seconds, SIGKILL. Without grace SIGKILL at once.

    In a terminal SIGHUP goes with the first: interactive shells ignore SIGTERM. So has it systemd.kill(5), SendSIGHUP.
    """
    process.blame(cause)
    if grace_s > 0:
        with contextlib.suppress(EnvdError):  # those it could not reach get SIGKILL
            await signal_tree(process, signal.SIGTERM)
            if process.terminal is not None:
                await signal_tree(process, signal.SIGHUP)
        try:
            async with asyncio.timeout(grace_s):
                await process.gone.wait()
        except TimeoutError:
            pass
    while True:
        try:
            await signal_tree(process, signal.SIGKILL)
        except EnvdError:
            await asyncio.sleep(_RETRY_S)  # short of descriptors, say: a limit holds all the same
        else:
            return
