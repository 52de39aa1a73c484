"""Who gets a signal a client sends."""

from __future__ import annotations

import enum
import signal

from .running import Running
from .table import Table

NUMBERS = range(1, signal.NSIG)


class Target(enum.IntEnum):
    """Whom a signal is for; the contract's numbers."""

    UNSPECIFIED = 0
    LEADER = 1
    GROUP = 2
    TREE = 3


async def send(table: Table, running: Running, number: int, target: int) -> None:
    """Send a signal for a client; without a target SIGKILL goes to the whole tree, any other to the program itself."""
    if target == Target.UNSPECIFIED:
        target = Target.TREE if number == signal.SIGKILL else Target.LEADER
    running.signalled(number)
    if target == Target.TREE:
        await table.signal_tree(running, number)
    else:
        table.signal(running, number, group=target == Target.GROUP)
