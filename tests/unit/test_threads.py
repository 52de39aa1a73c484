"""Work in threads, and callers that are cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from envd.filesystem.thread_pool import StepLimits, ThreadPool
from envd.filesystem.threads import Threads
from envd.host.mounts import Mounts


@pytest.mark.parametrize("began", [True, False], ids=["began", "waiting"])
async def test_a_caller_that_is_cancelled_is_told_nothing_else(*, began: bool):
    threads, go_on = Threads(ThreadPool(StepLimits(working=1), Mounts())), threading.Event()
    first = asyncio.create_task(threads.settle(go_on.wait))
    second = asyncio.create_task(threads.settle(go_on.wait))
    await asyncio.sleep(0)
    cancelled = first if began else second
    cancelled.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await (second if began else first)
