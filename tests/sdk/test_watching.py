"""Changes in directories: by asking, by callback, by iterating."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

import pytest

from envd_sdk import (
    FileNotFoundException,
    FilesystemEvent,
    FilesystemEventType,
    SandboxException,
    TimeoutException,
)
from tests.support.concurrency import Concurrency
from tests.support.daemon import Daemon, running_daemon
from tests.support.proxy import proxy_to

WAIT_S = 60.0


class Events:
    """Collects what a callback is told, from whatever thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, event: Any) -> None:
        self._loop.call_soon_threadsafe(self._found.put_nowait, event)

    async def until(self, name: str, kind: FilesystemEventType) -> FilesystemEvent:
        async with asyncio.timeout(WAIT_S):
            while True:
                event = await self._found.get()
                if (event.name, event.type) == (name, kind):
                    return event

    async def next(self) -> Any:
        async with asyncio.timeout(WAIT_S):
            return await self._found.get()


async def test_changes_can_be_asked_for(sandbox, concurrency: Concurrency, tmp_path):
    handle = await concurrency.call(sandbox.files.watch_dir, str(tmp_path))
    await concurrency.call(sandbox.files.write, str(tmp_path / "new"), "x")
    found: list[FilesystemEvent] = []
    async with asyncio.timeout(WAIT_S):
        while FilesystemEventType.WRITE not in {event.type for event in found}:
            found += await concurrency.call(handle.get_new_events)
    assert {event.name for event in found} == {"new"}
    assert FilesystemEventType.CREATE in {event.type for event in found}
    assert await concurrency.call(handle.get_new_events) == []
    await concurrency.call(handle.stop)


@pytest.mark.parametrize("positional", [True, False])
async def test_changes_are_handed_to_a_callback(sandbox, concurrency, tmp_path, positional):
    events = Events()
    where = (str(tmp_path), events) if positional else (str(tmp_path),)
    named = {} if positional else {"on_event": events}
    handle = await concurrency.call(sandbox.files.watch_dir, *where, recursive=True, include_entry=True, **named)
    await concurrency.call(sandbox.files.write, str(tmp_path / "sub" / "new"), "four")
    event = await events.until("sub/new", FilesystemEventType.WRITE)
    assert event.entry is None or event.entry.size == 4
    await concurrency.call(sandbox.files.remove, str(tmp_path / "sub" / "new"))
    await events.until("sub/new", FilesystemEventType.REMOVE)
    with pytest.raises(SandboxException, match="on_event"):
        await concurrency.call(handle.get_new_events)
    await concurrency.call(handle.stop)


async def test_a_callback_hears_why_it_ends(sandbox, concurrency, tmp_path):
    directory = tmp_path / "goes"
    directory.mkdir()
    events, ends = Events(), Events()
    handle = await concurrency.call(sandbox.files.watch_dir, str(directory), on_event=events, on_exit=ends)
    shutil.rmtree(directory)
    assert isinstance(await ends.next(), FileNotFoundException)
    await concurrency.call(handle.stop)
    handle = await concurrency.call(sandbox.files.watch_dir, str(tmp_path), on_event=events, on_exit=ends, timeout=3)
    assert isinstance(await ends.next(), TimeoutException)
    await concurrency.call(handle.stop)


async def test_changes_are_iterated_over(sandbox, concurrency, tmp_path):
    stream = await concurrency.call(sandbox.files.watch, str(tmp_path), timeout=WAIT_S)
    (tmp_path / "a").write_text("x")
    found = []
    while FilesystemEventType.CREATE not in found:
        found += [event.type for event in await concurrency.call(stream.next)]
    await concurrency.call(stream.close)
    assert await concurrency.call(stream.next) is None


async def test_what_is_not_there_is_not_watched(sandbox, concurrency, tmp_path):
    with pytest.raises(FileNotFoundException):
        await concurrency.call(sandbox.files.watch_dir, str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundException):
        await concurrency.call(sandbox.files.watch_dir, str(tmp_path / "nothing"), on_event=print)


async def numbered(sandbox: Any, concurrency: Concurrency, directory: Any, hurt: Any) -> None:
    """Make files while harm is done; each has to be reported once, in order."""
    events = Events()
    handle = await concurrency.call(sandbox.files.watch_dir, str(directory), on_event=events, timeout=0)
    for number in range(60):
        (directory / f"{number}").touch()
        if number % 20 == 10:
            await hurt()
    names = []
    while len(names) < 60:
        event = await events.next()
        assert event.type is not FilesystemEventType.OVERFLOW
        if event.type is FilesystemEventType.CREATE:
            names.append(event.name)
    assert names == [f"{number}" for number in range(60)]
    await concurrency.call(handle.stop)


async def test_no_change_is_lost_with_a_connection(concurrency, daemon: Daemon, tmp_path):
    async with proxy_to(daemon.port) as proxy:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")

        async def cut() -> None:
            proxy.cut()

        await numbered(sandbox, concurrency, tmp_path, cut)
        await concurrency.call(sandbox.close)


async def test_a_watch_outlives_the_server(concurrency, tmp_path):
    async with running_daemon() as daemon:
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, daemon.address)
        events = Events()
        handle = await concurrency.call(sandbox.files.watch_dir, str(tmp_path), on_event=events, timeout=0)
        asked = await concurrency.call(sandbox.files.watch_dir, str(tmp_path))
        await asyncio.to_thread(daemon.kill_server)
        # Answered by the next server.
        await concurrency.call(sandbox.files.write, str(tmp_path / "after"), "x")
        seen = []
        while "after" not in seen:
            seen.append((await events.next()).name)
        found: list[str] = []
        async with asyncio.timeout(WAIT_S):
            while "after" not in found and "." not in found:
                found += [event.name for event in await concurrency.call(asked.get_new_events)]
        for one in (handle, asked):
            await concurrency.call(one.stop)
        await concurrency.call(sandbox.close)
