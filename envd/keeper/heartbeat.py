"""Tells a server that hangs from one that is busy, starved, being debugged, or was stopped together with the keeper."""

from __future__ import annotations

import os

INTERVAL_S = 1.0
# Intervals without a word until a server counts as hanging; more before its first one, when it loads its code.
_HANGS = 15
_STARTS = 120
# A thread that is ready to run but gets no processor has so many times longer. Beyond that nobody is served either way.
_PATIENCE = 4
_STARVED_S = 5.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# So many intervals after SIGKILL a process that the kernel holds is not waited for, and any process at all.
_WAITS = 2
_AT_MOST = 30


class Heartbeat:
    """Counts how long a server has said nothing, though it was asked each interval.

    What is counted are turns of the keeper's own loop, and not time: while the machine is suspended, or keeper and
    server are frozen together, nothing is counted, and the server has its chance to answer before anything is.
    """

    def __init__(self) -> None:
        self.silent = 0
        self._has_answered = False
        self._used_s = 0.0

    def heard(self) -> None:
        """Note that the server said something."""
        self.silent = 0
        self._has_answered = True

    def lost(self, pid: int) -> bool:
        """Count one interval; return True if the server is to be replaced."""
        self.silent += 1
        if self.silent < 2:
            return False
        state, used_s = look(pid)
        if self.silent == 2 or state == "t":  # traced: somebody debugs it
            self.silent = 2
            self._used_s = used_s
        if state in ("Z", "X"):
            return True
        limit = _HANGS if self._has_answered else _STARTS
        if state == "R" and used_s - self._used_s < _STARVED_S:
            limit *= _PATIENCE
        return self.silent >= limit


def look(pid: int) -> tuple[str, float]:
    """Return the state of a process's main thread, as proc_pid_stat(5) has it, and its processor seconds.

    "X" if it is gone, "?" where /proc does not tell.
    """
    try:
        fd = os.open(f"/proc/{pid}/task/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
        return fields[0].decode(), (int(fields[11]) + int(fields[12])) * _TICK_S
    except (FileNotFoundError, ProcessLookupError):
        return ("X" if os.path.exists("/proc/self/stat") else "?"), 0.0
    except (OSError, IndexError, ValueError):
        return "?", 0.0


def is_over(pid: int, intervals: int) -> bool:
    """Return whether a process that got SIGKILL, so many intervals ago, can do nothing any more.

    No thread of it runs another instruction; it may only finish the system call it is in. Memory files
    and journals are written by its main thread: when that is over, or waits for a file system that does not answer, no
    such call is under way. One that is in the middle of a call and gets no processor is waited for.
    """
    state, _ = look(pid)
    # Also a zombie is given its time: usually it can be waited for, and its status told.
    return state == "X" or (state != "R" and intervals >= _WAITS) or intervals >= _AT_MOST
