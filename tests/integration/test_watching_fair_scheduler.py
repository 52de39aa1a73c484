"""Work for many who watch is done a little in each turn of the loop, in order, so that nobody else waits long."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from envd.filesystem.watching.events import EventKind
from envd.filesystem.watching.fair_scheduler import FairScheduler
from envd.filesystem.watching.history import Backlog, History
from envd.filesystem.watching.inotify import Raw
from envd.filesystem.watching.inotify_hub import InotifyHub
from envd.filesystem.writing.own_writes import OwnWrites

FOLLOWERS = 50
FILES = 20
TAKES_S = 100e-6


def busy(for_s: float) -> None:
    until = time.perf_counter() + for_s
    while time.perf_counter() < until:
        pass


class Slow:
    """Takes its time for each report, all of it from the loop."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.settled_at: list[int] = []

    def take(self, raw: Raw) -> None:
        busy(TAKES_S)
        self.names.append(raw.name)

    def overflowed(self) -> None:
        raise AssertionError

    def settle(self) -> None:
        self.settled_at.append(len(self.names))


@contextmanager
def following(hub: InotifyHub, directory: Path, followers: list[Slow]) -> Iterator[None]:
    with ExitStack() as stack:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, fd)
        st = os.fstat(fd)
        for follower in followers:
            watch = hub.add(fd, (st.st_dev, st.st_ino), follower)
            stack.callback(hub.remove, watch, follower)
        yield


@pytest.fixture
async def hub() -> InotifyHub:
    made = InotifyHub(OwnWrites(), 1000)
    made.open()
    return made


async def turns_until(done: asyncio.Future[None]) -> list[float]:
    """How long others waited for each of their turns meanwhile, in seconds."""
    found = []
    while not done.done():
        began = time.perf_counter()
        await asyncio.sleep(0)
        found.append(time.perf_counter() - began)
    return found


async def test_reports_for_many_leave_turns_to_others(hub: InotifyHub, tmp_path: Path):
    followers = [Slow() for _ in range(FOLLOWERS)]
    with following(hub, tmp_path, followers):
        for number in range(FILES):
            (tmp_path / str(number)).mkdir()
        waits = await turns_until(asyncio.ensure_future(hub.passed()))
    # All of it takes 100 ms. A turn ends after 1 ms, and what was begun then.
    assert len(waits) >= FOLLOWERS * FILES * TAKES_S / 0.003
    for follower in followers:
        assert follower.names == [str(number) for number in range(FILES)]
        assert follower.settled_at == [FILES]


async def test_what_is_reported_while_reports_are_handed_out_has_passed_later(hub: InotifyHub, tmp_path: Path):
    followers = [Slow() for _ in range(FOLLOWERS)]
    with following(hub, tmp_path, followers):
        (tmp_path / "first").mkdir()
        first = asyncio.ensure_future(hub.passed())
        while not followers[0].names:
            await asyncio.sleep(0)
        assert not followers[-1].names  # in the midst of it
        (tmp_path / "second").mkdir()
        await hub.passed()
        assert first.done()
        assert all(follower.names == ["first", "second"] for follower in followers)
        await hub.passed()  # nothing is left to wait for


async def test_a_follower_that_fails_keeps_nobody_waiting(hub: InotifyHub, tmp_path: Path):
    class Broken(Slow):
        def take(self, raw: Raw) -> None:
            raise RuntimeError("broken")

    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    followers = [Slow() for _ in range(FOLLOWERS)]
    with following(hub, tmp_path, [*followers, Broken()]):
        (tmp_path / "first").mkdir()
        await hub.passed()
        assert len(errors) == 1
        (tmp_path / "second").mkdir()
        await hub.passed()
        assert all(follower.names == ["first", "second"] for follower in followers)


async def test_those_who_have_much_to_do_take_turns_in_the_order_they_ask():
    turns = FairScheduler()
    asked: list[str] = []
    told: list[tuple[int, str]] = []
    turn = 0

    async def work(name: str) -> None:
        for _ in range(3):
            asked.append(name)
            await turns.mine()
            told.append((turn, name))
            busy(0.0015)

    workers = [asyncio.ensure_future(work(name)) for name in "abc"]
    leaver = asyncio.ensure_future(turns.mine())
    while not all(worker.done() for worker in workers):
        turn += 1
        leaver.cancel()
        await asyncio.sleep(0)
    assert [name for _, name in told] == asked
    assert len({at for at, _ in told}) == len(told)  # one in each turn of the loop
    await turns.mine()


async def test_several_who_have_little_to_do_share_a_turn():
    turns = FairScheduler()
    done = asyncio.gather(*(turns.mine() for _ in range(100)))
    count = 0
    while not done.done():
        count += 1
        await asyncio.sleep(0)
    assert count < 50


def test_garbage_collection_does_not_look_at_kept_events_twice():
    history = History(Backlog(1000), limit=100, kept=0)
    events = [history.add(EventKind.CREATE, f"file{number}", 1 << 96) for number in range(100)]
    gc.collect()
    assert not any(gc.is_tracked(event) for event in events)
