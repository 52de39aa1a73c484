"""Work in threads, and callers that are cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection

import pytest

from envd.errors import Code, EnvdError
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


def test_work_behind_other_work_can_be_called_off_and_then_find_no_thread_free():
    pool, go_on = ThreadPool(StepLimits(working=1), Mounts()), threading.Event()
    first = pool.submit(go_on.wait)
    second = pool.submit(lambda: None, behind=first)
    third = pool.submit(go_on.wait)
    assert second.answer.cancel()
    go_on.set()
    assert third.answer.result(timeout=60)
    assert pool.submit(lambda: "done").answer.result(timeout=60) == "done"


class _SlowMounts(Mounts):
    """Says that `/a` and `/b` are devices, and finds out only when it may where a path leads."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def device(self, path: str) -> str:
        return path[:2]

    def final_device(
        self, path: str, never: Collection[str], touching: Callable[[str], object] = lambda _: None
    ) -> str:
        if path.startswith("/b"):
            self.asked.set()
            self.may_answer.wait()
        return self.device(path)


def test_work_that_is_given_up_before_its_thread_begins_it_is_not_begun_and_the_thread_works_on():
    mounts, go_on = _SlowMounts(), threading.Event()
    pool = ThreadPool(StepLimits(give_up_s=0.1), mounts)
    stuck = pool.submit(go_on.wait, ("/a",))
    with pytest.raises(EnvdError):
        stuck.answer.result(timeout=60)  # so `/a` is known to be silent, and where `/b` leads matters
    began: list[bool] = []
    given_up = pool.submit(lambda: began.append(True), ("/b",))
    with pytest.raises(EnvdError) as error:
        given_up.answer.result(timeout=60)
    assert (error.value.code, mounts.asked.is_set()) == (Code.DEADLINE_EXCEEDED, True)
    mounts.may_answer.set()
    over = threading.Event()
    pool.when_over(given_up, lambda _: over.set())
    assert over.wait(60)
    assert not began
    go_on.set()
    assert pool.submit(lambda: "done", ("/b",)).answer.result(timeout=60) == "done"
