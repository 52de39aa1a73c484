"""Who gets a signal a client sends."""

from __future__ import annotations

import enum
import signal

from .process import Process
from .table import ProcessTable

NUMBERS = range(1, signal.NSIG)


class SignalTarget(enum.IntEnum):
    """Whom a signal is for; the contract's numbers."""

    UNSPECIFIED = 0
    LEADER = 1
    GROUP = 2
    TREE = 3


async def send(table: ProcessTable, running: Process, number: int, target: int) -> None:
    """Send a signal for a client; without a target SIGKILL goes to the whole tree, any other to the program itself."""
    if target == SignalTarget.UNSPECIFIED:
        target = SignalTarget.TREE if number == signal.SIGKILL else SignalTarget.LEADER
    running.signalled(number)
    if target == SignalTarget.TREE:
        await table.signal_tree(running, number)
    else:
        table.signal(running, number, group=target == SignalTarget.GROUP)
