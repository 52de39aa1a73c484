"""File systems that stop answering, real ones: what is on others goes on, and callers get an answer in the end."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from envd.config import Config, Limits
from envd.errors import Code, EnvdError
from envd.filesystem.steps import StepLimits
from envd.filesystem.thread_pool import ThreadPool
from envd.filesystem.threads import Threads
from envd.host.mounts import Mounts
from tests.support import files as rest
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.filesystem import Files
from tests.support.fuse import FLUSH, LOOKUP, Hanging, hanging
from tests.support.http1 import exchange
from tests.support.process import Processes, shell
from tests.support.readers import configured_daemon
from tests.support.searching import Search
from tests.support.watching import Watching
from tests.support.wires import RpcError

DEADLINE_S = 60
CALLS = 40  # more than there are threads


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Hanging]:
    """A mounted file system that answers until it is told not to."""
    with hanging(tmp_path / "silent", {"small": b"content", "large": bytes(1 << 20)}) as mounted:
        yield mounted


@pytest.fixture
def own(silent: Hanging) -> Iterator[Daemon]:
    """A daemon of this test alone. It ends before it does: nothing can wait for the file system then."""
    daemon = Daemon.start()
    yield daemon
    silent.answer()
    daemon.stop()


@asynccontextmanager
async def calls_that_hang(
    silent: Hanging, call: Callable[[int], Awaitable[object]], count: int = CALLS
) -> AsyncIterator[None]:
    """So many calls under way, of which as many as may hang do."""
    silent.stop_answering()
    tasks = [asyncio.ensure_future(call(number)) for number in range(count)]
    try:
        await asyncio.to_thread(silent.wait_for_requests, 1)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def use_everything(daemon: Daemon, elsewhere: Path) -> None:
    """One of each kind of file work, on a file system that answers."""
    client = Client(daemon.port, Codec.JSON)
    calls = Files(client)
    (elsewhere / "f").write_text("x")
    (elsewhere / "big").write_bytes(bytes(1 << 20))
    async with asyncio.timeout(DEADLINE_S):
        assert (await calls.stat(elsewhere / "f")).size == 1
        assert len(await calls.list_dir(elsewhere)) == 2
        assert (await calls.read(elsewhere / "f")).data == b"x"
        await calls.write(elsewhere / "g", b"y")
        assert (await rest.get(daemon.port, elsewhere / "big")).status == 200
        rest.answer(await rest.put(daemon.port, elsewhere / "h", b"z"))
        assert (await exchange(daemon.port, "GET", rest.target(elsewhere, "/files/archive"))).status == 200
        assert (await Search(client).grep(elsewhere, "x")).texts == ["x"]
        watcher = await Watching(client).create(elsewhere)
        (elsewhere / "new").touch()
        assert await watcher.said() == ["create new"]
        await watcher.remove()
        assert (await Processes(client).run(shell("echo hi"))).stdout == b"hi\n"


HANGING_CALLS: dict[str, Callable[[Daemon, Path], Awaitable[object]]] = {
    "stat": lambda daemon, path: Files(Client(daemon.port, Codec.PROTO)).stat(path),
    "read": lambda daemon, path: Files(Client(daemon.port, Codec.PROTO)).read(path),
    "write": lambda daemon, path: Files(Client(daemon.port, Codec.PROTO)).write(path, b"x"),
    "list": lambda daemon, path: Files(Client(daemon.port, Codec.PROTO)).list_entries(path),
    "grep": lambda daemon, path: Search(Client(daemon.port, Codec.PROTO)).grep(path, "x"),
    "watch": lambda daemon, path: Watching(Client(daemon.port, Codec.PROTO)).create(path, allow_network_mounts=True),
    "download": lambda daemon, path: rest.get(daemon.port, path),
    "upload": lambda daemon, path: rest.put(daemon.port, path, b"x"),
    "archive": lambda daemon, path: exchange(daemon.port, "GET", rest.target(path, "/files/archive")),
}


@pytest.mark.parametrize("kind", HANGING_CALLS)
async def test_calls_on_a_silent_file_system_leave_everything_else_usable(
    own: Daemon, silent: Hanging, tmp_path: Path, kind: str
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with calls_that_hang(silent, lambda number: HANGING_CALLS[kind](own, silent.path / f"x{number}")):
        await use_everything(own, elsewhere)


async def test_a_link_to_a_silent_file_system_does_not_make_that_of_the_link_silent(
    own: Daemon, silent: Hanging, tmp_path: Path
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(silent.path)
    calls = Files(Client(own.port, Codec.PROTO))
    async with calls_that_hang(silent, lambda number: calls.read(tmp_path / "link" / f"x{number}"), 100):
        await use_everything(own, elsewhere)


async def test_a_deadline_is_kept_on_a_silent_file_system(own: Daemon, silent: Hanging):
    calls = Files(Client(own.port, Codec.PROTO, {"Connect-Timeout-Ms": "300"}))
    silent.stop_answering()
    for call in (calls.stat, calls.read, calls.list_dir, lambda path: calls.write(path, b"x")):
        with pytest.raises(RpcError) as error:
            async with asyncio.timeout(DEADLINE_S):
                await call(silent.path / "small")
        assert error.value.code == "deadline_exceeded"


async def test_calls_go_on_when_the_file_system_answers_again(own: Daemon, silent: Hanging):
    calls = Files(Client(own.port, Codec.PROTO))
    silent.stop_answering()
    waiting = [asyncio.ensure_future(calls.stat(silent.path / "small")) for _ in range(CALLS)]
    await asyncio.to_thread(silent.wait_for_requests, 1)
    silent.answer()
    async with asyncio.timeout(DEADLINE_S):
        assert [entry.size for entry in await asyncio.gather(*waiting)] == [7] * CALLS
    assert (await calls.read(silent.path / "large")).data == bytes(1 << 20)


async def test_closing_a_file_that_was_downloaded_does_not_stop_the_server(
    own: Daemon, silent: Hanging, tmp_path: Path
):
    silent.stop_answering(FLUSH)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with asyncio.timeout(DEADLINE_S):
        assert len((await rest.get(own.port, silent.path / "large")).body) == 1 << 20
    await use_everything(own, elsewhere)


@pytest.mark.parametrize("kind", ["list", "copy", "archive"])
async def test_a_directory_whose_entries_cannot_be_described_does_not_stop_the_server(
    own: Daemon, silent: Hanging, tmp_path: Path, kind: str
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    calls = Files(Client(own.port, Codec.PROTO))
    call = {
        "list": lambda: calls.list_dir(silent.path),
        "copy": lambda: calls.copy(silent.path, tmp_path / "copy", recursive=True),
        "archive": lambda: HANGING_CALLS["archive"](own, silent.path),
    }[kind]
    silent.stop_answering(LOOKUP)
    waiting = asyncio.ensure_future(call())
    await asyncio.to_thread(silent.wait_for_requests, 1)
    await use_everything(own, elsewhere)
    silent.answer()
    async with asyncio.timeout(DEADLINE_S):
        await waiting


async def test_searches_whose_clients_left_do_not_keep_others_from_searching(
    own: Daemon, silent: Hanging, tmp_path: Path
):
    search = Search(Client(own.port, Codec.PROTO))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f").write_text("needle")
    silent.stop_answering()
    for _ in range(4):  # as many as may go on at once, or more
        async with calls_that_hang(silent, lambda number: search.grep(silent.path / f"x{number}", "x"), 4):
            async with asyncio.timeout(DEADLINE_S):
                assert (await search.grep(elsewhere, "needle")).texts == ["needle"]


async def test_a_search_waits_no_longer_than_configured(silent: Hanging):
    silent.stop_answering()
    try:
        async with (
            configured_daemon(Config(limits=Limits(file_s=1.0))) as daemon,
            asyncio.timeout(25),  # less than the 30 s that are the default
        ):
            with pytest.raises(RpcError) as error:
                await Search(Client(daemon.port, Codec.PROTO)).grep(silent.path / "small", "x")
            assert error.value.code in ("deadline_exceeded", "unavailable")
    finally:
        silent.answer()


@pytest.mark.parametrize("kind", ["find", "grep"])
async def test_what_was_found_comes_though_the_search_waits_for_a_file_system(
    own: Daemon, silent: Hanging, tmp_path: Path, kind: str
):
    search = Search(Client(own.port, Codec.PROTO))
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("needle")
    paths: set[str] = set()
    silent.stop_answering()
    calls = {
        "find": lambda: search.finding(tmp_path, include=["?"]),
        "grep": lambda: search.grepping(tmp_path, "needle"),
    }
    async with asyncio.timeout(DEADLINE_S), calls[kind]() as messages:
        async for message in messages:  # it goes by name: `silent` comes behind them
            paths |= {found.path for found in (message.entries if kind == "find" else message.files)}
            if len(paths) == 3:
                break
    assert paths == {str(tmp_path / name) for name in ("a", "b", "c")}


# The pool by itself, with waits short enough to see their end.


@pytest.fixture
def pool() -> Threads:
    return Threads(ThreadPool(StepLimits(working=8, threads=20, device=4, device_in_need=2, give_up_s=1.0), Mounts()))


async def test_who_waits_for_a_silent_file_system_is_told_so(pool: Threads, silent: Hanging):
    silent.stop_answering()
    threads = pool.at(str(silent.path))
    calls = [asyncio.ensure_future(threads.run(os.stat, silent.path / f"x{number}")) for number in range(10)]
    async with asyncio.timeout(DEADLINE_S):
        errors = await asyncio.gather(*calls, return_exceptions=True)
    codes = [error.code for error in errors if isinstance(error, EnvdError)]
    assert codes.count(Code.DEADLINE_EXCEEDED) == 4  # those that have begun
    assert codes.count(Code.UNAVAILABLE) == 6  # those that have not
    assert all(str(silent.path) in str(error) for error in errors)


async def test_a_file_system_that_answers_again_is_used_again(pool: Threads, silent: Hanging):
    silent.stop_answering()
    threads = pool.at(str(silent.path))
    calls = [asyncio.ensure_future(threads.run(os.stat, silent.path / f"x{number}")) for number in range(10)]
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*calls, return_exceptions=True)
        silent.answer()
        while True:
            with suppress(EnvdError):
                assert (await threads.run(os.stat, silent.path / "small")).st_size == 7
                return


async def test_work_that_is_called_off_before_it_began_is_forgotten(pool: Threads, silent: Hanging):
    silent.stop_answering()
    threads = pool.at(str(silent.path))
    stuck = [asyncio.ensure_future(threads.run(os.stat, silent.path / f"x{number}")) for number in range(4)]
    await asyncio.to_thread(silent.wait_for_requests, 1)
    began: list[int] = []
    waiting = [asyncio.ensure_future(threads.settle(began.append, number)) for number in range(100)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait(waiting)
        silent.answer()
        await asyncio.gather(*stuck, return_exceptions=True)
        assert (await threads.run(os.stat, silent.path / "small")).st_size == 7
    assert not began


async def test_work_that_takes_long_and_gets_on_is_not_given_up(pool: Threads, tmp_path: Path):
    def work() -> str:
        end = time.monotonic() + 2.5  # longer than anybody waits for what does not get on
        while time.monotonic() < end:
            os.stat(tmp_path)
        return "done"

    async with asyncio.timeout(DEADLINE_S):
        assert await pool.at(str(tmp_path)).run(work) == "done"


async def test_what_was_made_for_a_caller_who_has_left_is_let_go_of(pool: Threads, silent: Hanging):
    silent.stop_answering()
    opened: list[int] = []

    def make() -> int:
        opened.append(os.open(silent.path / "small", os.O_RDONLY))
        return opened[0]

    def let_go(fd: int) -> None:
        os.close(fd)
        loop.call_soon_threadsafe(closed.set)

    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    with pytest.raises(EnvdError) as error:
        async with asyncio.timeout(DEADLINE_S), pool.at(str(silent.path)).holding(make, let_go):
            pass
    assert error.value.code is Code.DEADLINE_EXCEEDED
    assert not opened
    silent.answer()
    async with asyncio.timeout(DEADLINE_S):
        await closed.wait()


async def test_who_leaves_work_that_hangs_does_not_wait_for_it_and_what_comes_behind_it_is_done(
    pool: Threads, silent: Hanging
):
    silent.stop_answering()
    threads, done, begun = pool.at(str(silent.path)), [], threading.Event()

    def hang() -> None:
        begun.set()
        done.append(os.stat(silent.path / "small").st_size)

    async def call() -> None:
        try:
            await threads.settle(hang)
        finally:
            await threads.finish(done.append, "closed")

    task = asyncio.ensure_future(call())
    await asyncio.to_thread(begun.wait, DEADLINE_S)  # a step that has not begun is called off
    await asyncio.to_thread(silent.wait_for_requests, 1)
    task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([task])
        assert not done
        silent.answer()
        await threads.settle(done.append, "last")
    assert done == [7, "closed", "last"]
