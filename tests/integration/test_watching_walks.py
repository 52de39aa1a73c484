"""Random changes to a tree by several threads: who applies the events knows in the end what is there."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from envd.config import Config
from envd.config import Watching as Sizes
from tests.integration.test_watching import Known, on_disk, over
from tests.support.daemon import Daemon
from tests.support.readers import configured_daemon
from tests.support.watching import Stream, said

THREADS = 4
STEPS = 1500
ROUNDS = 2
NAMES = "abcdef"


def walk(root: Path, rng: random.Random) -> None:
    """Make, change, rename and remove whatever comes; what cannot be done is left."""

    def anywhere() -> Path:
        return root.joinpath(*(rng.choice(NAMES) for _ in range(rng.randint(1, 4))))

    steps = {
        lambda path: path.mkdir(parents=rng.random() < 0.5): 5,
        lambda path: path.write_text("x" * rng.randint(0, 3)): 5,
        lambda path: path.unlink(): 2,
        lambda path: path.rmdir(): 1,
        shutil.rmtree: 1,
        lambda path: path.rename(anywhere()): 5,
        lambda path: path.chmod(rng.choice((0o700, 0o755))): 1,
    }
    for step in rng.choices(list(steps), list(steps.values()), k=STEPS):
        with suppress(OSError):
            step(anywhere())


@asynccontextmanager
async def walking(root: Path, seed: int) -> AsyncIterator[list[asyncio.Future[None]]]:
    loop = asyncio.get_running_loop()
    walkers = [
        loop.run_in_executor(None, walk, root, random.Random(THREADS * seed + number)) for number in range(THREADS)
    ]
    yield walkers
    await asyncio.gather(*walkers)


async def until_the_same(stream: Stream, known: Known) -> None:
    """Apply what still comes until client and disk agree. Differences come in any order, so one marker says little."""
    expected = on_disk(known.root)
    for _ in range(20):
        known.apply([said(event) for event in await stream.events()])
        if known.names == expected:
            return
    assert known.names == expected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.mark.parametrize("events", [16384, 50], ids=["followed", "always-behind"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow
async def test_a_random_walk_is_told(root: Path, events: int, seed: int):
    async with configured_daemon(Config(watching=Sizes(events=events))) as daemon:  # noqa: SIM117 - one thing each
        async with over(daemon).stream(root, recursive=True) as stream:
            known = Known(root)
            for turn in range(ROUNDS):
                async with walking(root, ROUNDS * seed + turn) as walkers:
                    while not all(walker.done() for walker in walkers):
                        known.apply([said(event) for event in await stream.events()])
                await until_the_same(stream, known)


@contextmanager
def held(root: Path) -> Iterator[Path]:
    """A path that leads to a directory, whatever becomes of those above it."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def rename_back_and_forth(path: Path, rng: random.Random, stop: threading.Event) -> None:
    other = path.with_name("away")
    while not stop.wait(rng.random() / 200):
        path.rename(other)
        if rng.random() < 0.5:  # something else is there meanwhile
            foreign = path / "root" / "a"
            foreign.mkdir(parents=True)
            (foreign / "foreign").touch()
        stop.wait(rng.random() / 200)
        shutil.rmtree(path, ignore_errors=True)
        other.rename(path)


@pytest.mark.parametrize("events", [16384, 50], ids=["followed", "always-behind"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow
async def test_a_random_walk_is_told_while_a_directory_above_is_renamed(root: Path, events: int, seed: int):
    sizes = Sizes(events=events, away_s=60)
    (root / "above" / "root").mkdir(parents=True)
    stop, loop = threading.Event(), asyncio.get_running_loop()
    async with configured_daemon(Config(watching=sizes)) as daemon:
        with held(root / "above" / "root") as top:
            async with over(daemon).stream(root / "above" / "root", recursive=True) as stream:
                stream.root = top
                known = Known(top)
                renaming = loop.run_in_executor(None, rename_back_and_forth, root / "above", random.Random(seed), stop)
                try:
                    async with walking(top, seed) as walkers:
                        while not all(walker.done() for walker in walkers):
                            known.apply([said(event) for event in await stream.events()])
                finally:
                    stop.set()
                await renaming
                await until_the_same(stream, known)
                assert not [name for name in known.created if "foreign" in name]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow
async def test_a_random_walk_is_told_across_deaths_of_the_server(root: Path, seed: int):
    async with configured_daemon(Config()) as daemon:
        known = Known(root)
        async with over(daemon).stream(root, recursive=True, cursor="") as stream:
            cursor = stream.cursor
        for turn in range(ROUNDS):
            async with walking(root, ROUNDS * seed + turn) as walkers:
                while not all(walker.done() for walker in walkers):
                    cursor = await resumed_and_killed(daemon, root, known, cursor)
        async with over(daemon).stream(root, recursive=True, cursor=cursor) as stream:
            await until_the_same(stream, known)
            assert not any(overflow.reset for overflow in stream.overflows)


async def resumed_and_killed(daemon: Daemon, root: Path, known: Known, cursor: str) -> str:
    """Go on with a stream, kill the server while more events come, and return the last cursor."""
    async with over(daemon).stream(root, recursive=True, cursor=cursor) as stream:
        for _ in range(3):
            known.apply([said(event) for event in await stream.events()])
        await asyncio.to_thread(daemon.kill_server)
        assert not any(overflow.reset for overflow in stream.overflows)
        return stream.cursor
