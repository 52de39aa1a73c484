"""Programs that an earlier server began to start: whoever repeats the Start under their key is never left waiting."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest

from envd.config import Output
from envd.errors import Code, EnvdError
from envd.keeper.client import Inherited, Spawned
from envd.process.command import Command
from envd.process.descriptors import SLOT_LEDGER
from envd.process.journal_budget import JournalBudget
from envd.process.ledger import Ledger
from envd.process.spawn import Spawner
from envd.process.table import ProcessTable


class Keeper:
    """Says how a spawn came out once the test lets it, and forgets."""

    on_exit: Any = None

    def __init__(self) -> None:
        self.spawned: asyncio.Future[Spawned] = asyncio.get_running_loop().create_future()

    def outcome(self, _: int) -> asyncio.Future[Spawned]:
        return self.spawned

    def release(self, *_: object) -> None: ...


class Jobs:
    """Runs jobs in the test's loop."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(job, name=name))
        return self.tasks[-1]


async def test_a_key_whose_program_cannot_be_read_is_told_so_and_stays_in_use() -> None:
    keeper, jobs, pool = (
        Keeper(),
        Jobs(),
        JournalBudget(Output(live_bytes=1024, finished_bytes=1024, trimmed_bytes=1024, total_bytes=1 << 20)),
    )
    spawner = Spawner(keeper, Any, pool, Output(), mark_base=0)  # type: ignore[arg-type]
    table = ProcessTable(keeper, spawner, pool, jobs, Output(finished_s=60, finished_programs=10))  # type: ignore[arg-type]
    broken = b"[broken\n" + Command("/bin/true", key="once").to_json()
    ledger = Ledger.create("envd-1-ledger", broken)
    table.adopt([Inherited(1, 0, {SLOT_LEDGER: os.dup(ledger.fd)}, None, None)])
    ledger.close()
    waiting = asyncio.create_task(table.started("once"))
    keeper.spawned.set_result(Spawned(os.getpid(), 0, ""))
    async with asyncio.timeout(60):
        for _ in range(2):
            with pytest.raises(EnvdError) as told:
                await waiting
            assert told.value.code is Code.DATA_LOSS
            waiting = asyncio.create_task(table.started("once"))
        waiting.cancel()
    for program in table:
        program.output.close()
