"""Signals that a client sends, to a process, its group or its tree."""

from __future__ import annotations

import enum
import signal

from .process import Process
from .table import ProcessTable

NUMBERS = range(1, signal.NSIG)


class SignalTarget(enum.IntEnum):
    """The processes a signal is for; the contract's numbers."""

    UNSPECIFIED = 0
    LEADER = 1
    GROUP = 2
    TREE = 3


async def send(table: ProcessTable, process: Process, number: int, target: int) -> None:
    """Send a signal for a client; without a target SIGKILL goes to the whole tree, any other to the process itself."""
    if target == SignalTarget.UNSPECIFIED:
        target = SignalTarget.TREE if number == signal.SIGKILL else SignalTarget.LEADER
    process.signalled(number)
    if target == SignalTarget.TREE:
        await table.signal_tree(process, number)
    else:
        table.signal(process, number, group=target == SignalTarget.GROUP)
