"""Events of a process, as a subscriber gets them: Started, then Run, Gap and KeepAlive, then one Ended."""

from __future__ import annotations

import enum
from dataclasses import dataclass

STDOUT, STDERR, PTY = 0, 1, 2
STREAMS = 3

Position = tuple[int, int, int]
"""A place in the output: the number of bytes of stdout, stderr and terminal output before it."""

BEGINNING: Position = (0, 0, 0)


class Cause(enum.IntEnum):
    """The reason why a process ended; the contract's numbers."""

    UNSPECIFIED = 0
    ITSELF = 1
    SIGNAL_REQUEST = 2
    DEADLINE = 3
    WALL_TIMEOUT = 4
    IDLE_TIMEOUT = 5
    EXEC_FAILED = 6
    SHUTDOWN = 7


@dataclass(frozen=True, slots=True)
class Started:
    """The process runs, or ran; this subscriber begins at `position`.

    Attributes:
        started_at: seconds since the epoch.
    """

    pid: int
    existing: bool
    position: Position
    started_at: float


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive bytes of one stream, from `offset` on; `position` is the subscriber's place behind them."""

    stream: int
    offset: int
    data: bytes
    position: Position


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes [begin, end) of a stream that are no longer kept."""

    stream: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing happened for the interval the subscriber asked for."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a process.

    Attributes:
        exit_code: 0 to 255, -1 if a signal ended it.
        signal: number of that signal, 0 without.
        user_s, system_s: processor time.
        max_rss_bytes: an upper bound.
        exec_errno, exec_stage: why it could not be executed; 0 and "" otherwise.
        held_by: pids that still hold its output open.
        started_at, ended_at: seconds since the epoch.
    """

    exit_code: int
    signal: int
    core_dumped: bool
    cause: Cause
    user_s: float
    system_s: float
    max_rss_bytes: int
    exec_errno: int
    exec_stage: str
    held_by: tuple[int, ...]
    output: Position
    started_at: float
    ended_at: float


Event = Started | Run | Gap | KeepAlive | Ended
