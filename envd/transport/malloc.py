"""Memory that is free but still this process's."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give unused memory that malloc holds back to the kernel; does nothing with another C library than glibc.

    Takes milliseconds, without the interpreter's lock: call it in a thread. Source: malloc_trim(3).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
