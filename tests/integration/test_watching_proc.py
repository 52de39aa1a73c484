"""Watching what the kernel makes up: large, always changing, and without reports."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from tests.integration.test_watching import over, until_watches
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.filesystem import Files
from tests.support.wires import RpcError

DEADLINE_S = 60
# Calls that are answered while one watch begins: it begins a little at a time.
MEANWHILE = 5


@pytest.fixture
async def own() -> AsyncIterator[Daemon]:
    async with running_daemon() as daemon:
        yield daemon


@contextmanager
def coming_and_going() -> Iterator[None]:
    """Processes that begin and end all the time, whose directories vanish while they are read."""
    process = subprocess.Popen(["sh", "-c", "while :; do for i in 1 2 3 4 5 6 7 8; do true & done; wait; done"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(300)  # thousands of directories that come and go, twice over
@pytest.mark.parametrize("kind", ["stream", "polled"])
@pytest.mark.slow
async def test_proc_is_watched_without_harm(own: Daemon, kind: str):
    files, answered = Files(Client(own.port, Codec.PROTO)), 0

    async def watch() -> None:
        try:
            if kind == "stream":
                async with over(own).stream("/proc", recursive=True):
                    pass
            else:
                await (await over(own).create("/proc", recursive=True)).remove()
        except RpcError as error:  # where it is too large for the kernel's limits, or the sandbox hides it
            assert error.code in ("resource_exhausted", "permission_denied"), error  # noqa: PT017

    with coming_and_going():
        async with asyncio.timeout(4 * DEADLINE_S):
            for _ in range(2):
                watching = asyncio.ensure_future(watch())
                while not watching.done():
                    await files.stat("/proc")
                    answered += 1
                await watching
    assert answered >= 2 * MEANWHILE
    await until_watches(own.server_pid(), 0)
