"""Connections that break and servers that are killed while a program prints: nobody notices."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from functools import cache

import pytest

from envd_sdk import CommandExitException
from tests.support.concurrency import CONCURRENCIES, Concurrency
from tests.support.daemon import Daemon, running_daemon
from tests.support.proxy import Proxy, proxy_to

pytestmark = pytest.mark.timeout(300)

LINES = 1_400_000
# Of each kind in each half; 25 make the 100 of docs/decisions/0015-two-halves-of-an-sdk.md.
RUNS = int(os.environ.get("ENVD_TEST_SDK_RUNS", "5"))


@cache
def expected() -> str:
    """What the program prints. Not made while tests are collected, which every worker does."""
    return "".join(f"{n}\n" for n in range(1, LINES + 1))


class Harm:
    """Does something at given places in a program's output, counted in characters."""

    def __init__(self, places: list[int], hurt) -> None:
        self.places = sorted(places)
        self.seen = 0
        self.done = 0
        self._hurt = hurt

    def __call__(self, text: str) -> None:
        self.seen += len(text)
        while self.places and self.seen >= self.places[0]:
            self.places.pop(0)
            self.done += 1
            self._hurt()


async def ten_megabytes(concurrency: Concurrency, sandbox, marks, harm: Harm) -> None:
    """Run the program once; its output, its exit code and how often it ran have to be right."""
    command = f"echo ran >> {marks}; seq 1 {LINES}; exit 7"
    with pytest.raises(CommandExitException) as ended:
        await concurrency.call(sandbox.commands.run, command, on_stdout=harm, timeout=0)
    assert ended.value.exit_code == 7
    assert len(ended.value.stdout) == len(expected())
    assert ended.value.stdout == expected()
    assert ended.value.gaps == ()
    assert marks.read_text() == "ran\n"


def places(seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(len(expected())) for _ in range(chance.randint(1, 3))]


async def test_a_connection_cut_at_any_moment_costs_nothing(concurrency, daemon: Daemon, tmp_path):
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        for run in range(RUNS):
            harm = Harm(places(run), lambda: loop.call_soon_threadsafe(proxy.cut))
            await ten_megabytes(concurrency, sandbox, tmp_path / f"{run}", harm)
            assert harm.done
        await concurrency.call(sandbox.close)


@pytest.mark.slow
async def test_a_server_killed_at_any_moment_costs_nothing(concurrency, tmp_path):
    async with running_daemon() as daemon:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, daemon.address)
        killing = threading.Lock()

        def kill() -> None:
            with killing:
                daemon.kill_server()

        def hurt() -> None:
            threads.append(threading.Thread(target=kill))
            threads[-1].start()

        for run in range(RUNS):
            threads: list[threading.Thread] = []
            # One kill a run: the next one would find no server yet.
            harm = Harm(places(run)[:1], hurt)
            await ten_megabytes(concurrency, sandbox, tmp_path / f"{run}", harm)
            for thread in threads:
                await asyncio.to_thread(thread.join)
            assert harm.done
        await concurrency.call(sandbox.close)


async def test_a_connection_that_falls_silent_costs_nothing(daemon: Daemon):
    """Both halves at once: it takes 20 s until a peer counts as gone."""
    loop = asyncio.get_running_loop()

    async def one(concurrency: Concurrency) -> None:
        async with proxy_to(daemon.port) as proxy:
            harm = Harm([1], lambda: loop.call_soon_threadsafe(proxy.swallow))
            sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
            # Within what is kept of a program that has ended meanwhile, beside what was on the way.
            found = await concurrency.call(sandbox.commands.run, "seq 1 300000", on_stdout=harm, timeout=0)
            assert found.stdout == expected()[: expected().index("300001")]
            assert (found.gaps, harm.done) == ((), 1)
            await concurrency.call(sandbox.close)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for concurrency in CONCURRENCIES:
            group.create_task(one(concurrency))


async def test_an_answer_lost_at_the_start_does_not_start_a_program_twice(concurrency, daemon: Daemon, tmp_path):
    async with proxy_to(daemon.port) as proxy:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        for run in range(8):
            marks = tmp_path / f"{run}"
            cutting = asyncio.create_task(cut_now_and_then(proxy, random.Random(run)))
            found = await concurrency.call(sandbox.commands.run, f"echo ran >> {marks}; echo $$")
            cutting.cancel()
            assert marks.read_text() == "ran\n"
            assert found.stdout.strip().isdigit()
        await concurrency.call(sandbox.close)


async def cut_now_and_then(proxy: Proxy, chance: random.Random) -> None:
    for _ in range(30):
        await asyncio.sleep(chance.uniform(0, 0.03))
        proxy.cut()


async def test_iterating_over_a_handle_goes_on_too(concurrency, daemon: Daemon):
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        harm = Harm(places(3), lambda: loop.call_soon_threadsafe(proxy.cut))
        handle = await concurrency.call(
            sandbox.commands.run, f"seq 1 {LINES}", background=True, timeout=0, on_stdout=harm
        )
        pieces = await concurrency.all(handle)
        assert "".join(stdout or "" for stdout, _, _ in pieces) == expected()
        assert harm.done
        assert (await concurrency.call(handle.wait)).exit_code == 0
        await concurrency.call(sandbox.close)


async def test_a_file_that_is_read_goes_on_too(concurrency, daemon: Daemon, tmp_path):
    content = random.Random(1).randbytes(20_000_000)
    (tmp_path / "large").write_bytes(content)
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        todo = [3_000_000, 11_000_000, 19_000_000]

        def progress(come: int) -> None:
            if todo and come >= todo[0]:
                todo.pop(0)
                loop.call_soon_threadsafe(proxy.cut)

        path = str(tmp_path / "large")
        found = await concurrency.call(
            sandbox.files.read, path, "bytes", offset=1000, length=19_500_000, on_progress=progress
        )
        assert not todo
        assert bytes(found) == content[1000 : 1000 + 19_500_000]
        await concurrency.call(sandbox.close)


async def test_a_file_that_is_written_is_written_again(concurrency, daemon: Daemon, tmp_path):
    content = random.Random(2).randbytes(20_000_000)
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        todo = [5_000_000]

        def progress(sent: int) -> None:
            if todo and sent >= todo[0]:
                todo.pop(0)
                loop.call_soon_threadsafe(proxy.cut)

        await concurrency.call(sandbox.files.write, str(tmp_path / "large"), content, on_progress=progress)
        assert not todo
        assert (tmp_path / "large").read_bytes() == content
        assert [path.name for path in tmp_path.iterdir()] == ["large"]
        await concurrency.call(sandbox.close)


async def test_what_is_typed_arrives_once_over_a_connection_that_is_cut(concurrency, daemon: Daemon):
    expected = ""
    async with proxy_to(daemon.port) as proxy:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        handle = await concurrency.call(sandbox.commands.run, "cat", background=True, stdin=True, timeout=0)
        cutting = asyncio.create_task(cut_now_and_then(proxy, random.Random(6)))
        while not cutting.done():
            line = f"{len(expected)}\n"
            expected += line
            await concurrency.call(handle.send_stdin, line)
        await concurrency.call(handle.close_stdin)
        assert (await concurrency.call(handle.wait)).stdout == expected
        await concurrency.call(sandbox.close)


async def test_a_kill_whose_answer_is_lost_is_a_kill(concurrency, daemon: Daemon):
    async with proxy_to(daemon.port) as proxy:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        for run in range(8):
            handle = await concurrency.call(sandbox.commands.run, "exec sleep 1000", background=True, timeout=0)
            cutting = asyncio.create_task(cut_now_and_then(proxy, random.Random(run)))
            assert await concurrency.call(sandbox.commands.kill, handle.pid)
            cutting.cancel()
        await concurrency.call(sandbox.close)
