"""The pool of processes that search, by itself, with bounds small enough to reach."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from envd.errors import Code, EnvdError
from envd.filesystem.search.pool import Workers
from envd.filesystem.search.processes import WorkerAnswer
from envd.filesystem.search.requests import GrepOutput, GrepRequest, Pattern, Selection
from envd.filesystem.steps import StepLimits
from envd.filesystem.thread_pool import ThreadPool
from envd.filesystem.threads import Threads
from envd.host.mounts import Mounts
from envd.host.users import own_user
from tests.support.kernel import has_exited, open_pidfds
from tests.support.searching import workers


@asynccontextmanager
async def pool(**bounds: float) -> AsyncIterator[Workers]:
    made = Workers(Threads(ThreadPool(StepLimits(working=2), Mounts())), **{"at_once": 1, **bounds})  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.stop(grace_s=10)


async def gone(pids: list[int]) -> None:
    with open_pidfds(pids) as fds:
        for fd in fds:
            assert await asyncio.to_thread(has_exited, fd)


def grep(path: Path, text: str = "needle", most: int = 1_000_000) -> GrepRequest:
    return GrepRequest(
        Selection(str(path), own_user()),
        Pattern(text),
        GrepOutput.LINES,
        before=0,
        after=0,
        max_per_file=0,
        max_matches=most,
        max_bytes=1 << 26,
        max_line_bytes=1000,
        binary=False,
        in_json=False,
    )


async def answered(made: Workers, order: GrepRequest) -> int:
    """How many messages an order is answered with."""
    count = 0
    async with made.answering(order) as answer:
        while await answer.next() is not None:
            count += 1
    return count


async def rest_of(answer: WorkerAnswer) -> None:
    while await answer.next() is not None:
        pass


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "f"
    made.write_bytes(b"needle in a line\n" * 100_000)
    return made


async def test_one_process_answers_one_order_after_the_other(file: Path):
    async with pool() as made:
        counts = await asyncio.gather(*(answered(made, grep(file, most=10)) for _ in range(20)))
        assert counts == [1] * 20
        assert len(workers(os.getpid())) == 1


async def test_a_large_server_uses_its_processes_again_as_well(file: Path):
    image = bytearray(300 << 20)
    image[::4096] = b"x" * (len(image) // 4096)
    async with pool() as made:
        first = await answered(made, grep(file, most=10)), workers(os.getpid())
        assert (await answered(made, grep(file, most=10)), workers(os.getpid())) == first
        assert len(first[1]) == 1
    del image


async def test_who_comes_when_too_many_wait_is_refused(file: Path):
    async with pool(waiting=2) as made:
        async with made.answering(grep(file)) as answer:
            await answer.next()
            first, second = [asyncio.ensure_future(answered(made, grep(file, most=1))) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(EnvdError) as error:
                await answered(made, grep(file))
            assert error.value.code is Code.RESOURCE_EXHAUSTED
            first.cancel()
            await asyncio.wait([first])
            third = asyncio.ensure_future(answered(made, grep(file, most=1)))
            await rest_of(answer)
        async with asyncio.timeout(60):
            assert await asyncio.gather(second, third) == [1, 1]


async def test_who_leaves_just_as_the_turn_comes_leaves_quietly(file: Path):
    async with pool() as made:
        async with made.answering(grep(file, most=1)) as answer:
            await rest_of(answer)
            waiting = asyncio.ensure_future(answered(made, grep(file, most=1)))
            await asyncio.sleep(0)
            waiting.cancel()  # heard of only after the turn was passed on
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await answered(made, grep(file, most=1)) == 1


async def test_those_who_wait_get_their_turn(file: Path):
    async with pool() as made:
        async with made.answering(grep(file)) as answer:
            await answer.next()
            waiting = asyncio.ensure_future(answered(made, grep(file, most=1)))
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            assert await waiting == 1


async def test_results_nobody_takes_give_way_to_who_waits(file: Path):
    async with pool(stall_s=0.2) as made, made.answering(grep(file)) as stalled:
        await stalled.next()
        async with asyncio.timeout(60):
            assert await answered(made, grep(file, most=1)) == 1
        with pytest.raises(EnvdError) as error:
            await stalled.next()
        assert error.value.code is Code.ABORTED
        assert await answered(made, grep(file, most=1)) == 1


async def test_results_nobody_takes_may_wait_as_long_as_nobody_else_does(file: Path):
    async with pool(stall_s=0.0, at_once=2) as made, made.answering(grep(file)) as slow:
        await slow.next()
        assert await answered(made, grep(file, most=1)) == 1
        assert await slow.next() is not None


@pytest.mark.slow
async def test_orders_in_quick_succession_do_not_disturb_the_process(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"needle\n")
    async with pool() as made:
        first = await answered(made, grep(tmp_path / "f"))
        pids = workers(os.getpid())
        assert [await answered(made, grep(tmp_path / "f")) for _ in range(2000)] == [first] * 2000
        assert workers(os.getpid()) == pids


async def test_idle_processes_end_after_a_while(file: Path):
    async with pool(idle_s=0.1) as made:
        await answered(made, grep(file, most=1))
        await gone(workers(os.getpid()))
        assert await answered(made, grep(file, most=1)) == 1


async def test_an_order_that_is_left_ends_its_process(file: Path):
    async with pool() as made:
        async with made.answering(grep(file)) as answer:
            await answer.next()
            pids = workers(os.getpid())
        await gone(pids)


async def test_an_order_that_is_larger_than_a_pipe_arrives(file: Path):
    async with pool() as made:
        assert await answered(made, grep(file, text="|".join(["needle"] * 20_000), most=1)) == 1


async def test_a_step_in_which_no_signal_is_let_in_ends_its_process():
    script = f"""if True:
        import os, sys
        sys.path.append({os.getcwd()!r})
        from envd.filesystem.search.cpu_limit import CpuLimit
        patience = CpuLimit(os.getppid())
        patience.watch()
        with patience.step(1):
            sum(range(10**12))
    """
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGPROF


async def test_a_process_that_took_too_long_fails_its_order_and_says_why(file: Path):
    async with pool() as made, made.answering(grep(file)) as answer:
        await answer.next()
        os.kill(workers(os.getpid())[0], signal.SIGPROF)
        with pytest.raises(EnvdError) as error:
            await rest_of(answer)
        assert error.value.code is Code.RESOURCE_EXHAUSTED
        assert "simpler" in error.value.message
