"""Scheduling of the daemon's disk access, which programs inherit."""

from __future__ import annotations

import contextlib
import ctypes
import platform

# Source: ioprio_set(2); the call has no wrapper in the C library.
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS = 1
_BEST_EFFORT_4 = (2 << 13) | 4


def normalise_io(pid: int) -> None:
    """Give a process the ordinary class, best effort 4, whatever the operator gave the daemon. Does its best."""
    number = _SYS_IOPRIO_SET.get(platform.machine())
    if number is not None:
        with contextlib.suppress(OSError):
            ctypes.CDLL(None, use_errno=True).syscall(number, _WHO_PROCESS, pid, _BEST_EFFORT_4)
