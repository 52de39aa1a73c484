"""Signals by the numbers of Linux, which runs every sandbox. No network in here."""

from __future__ import annotations

from enum import IntEnum

from envd_sdk.exceptions import InvalidArgumentException

SIGKILL = 9

# From 1 on. Source: signal(7), x86 and Arm.
_NAMES = """
HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT
CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
"""
_NUMBERS = {f"SIG{name}": number for number, name in enumerate(_NAMES.split(), start=1)}
_NUMBERS |= {"SIGRTMIN": 34, "SIGRTMAX": 64}


def linux_number(signal: int) -> int:
    """The number that a signal has on Linux.

    Args:
        signal: that number already, or a member of `signal.Signals`, whose name counts: on this system it may have
            another number (on macOS SIGUSR1 is 30 and SIGSTOP 17).

    Raises:
        InvalidArgumentException: Linux has no signal of that name.
    """
    if not isinstance(signal, IntEnum):
        return signal
    if signal.name not in _NUMBERS:
        raise InvalidArgumentException(f"Linux has no signal {signal.name}: give one that it has, or its number there")
    return _NUMBERS[signal.name]
