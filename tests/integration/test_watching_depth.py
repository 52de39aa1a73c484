"""Watching trees that are deeper than a path can say."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.test_watching import over, until_watches
from tests.support.daemon import Daemon, running_daemon
from tests.support.watching import Stream
from tests.support.wires import RpcError

NAME = "d" * 200
PATH_MAX = 4096
LONGEST = 16 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "root"
    made.mkdir()
    yield made
    # Not every program removes what is so deep.
    while (made / NAME / NAME).exists():
        os.rename(made / NAME / NAME, made / "next")
        shutil.rmtree(made / NAME)
        os.rename(made / "next", made / NAME)


@pytest.fixture
async def own() -> AsyncIterator[Daemon]:
    async with running_daemon() as daemon:
        yield daemon


@contextmanager
def chain(top: Path, depth: int) -> Iterator[int]:
    """A chain of directories, which may be there in parts; yields a descriptor of the last one."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(depth):
            with suppress(FileExistsError):
                os.mkdir(NAME, dir_fd=fd)
            below = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def touch(directory: int, name: str) -> None:
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory))


async def without_markers(stream: Stream, last: str) -> list[str]:
    return [line for line in await stream.said_until(last) if "marker" not in line]


def at(depth: int, name: str = "") -> str:
    return "/".join([NAME] * depth + [name] * bool(name))


async def test_what_no_path_leads_to_is_followed(own: Daemon, root: Path):
    depth = PATH_MAX // len(NAME) + 2
    with chain(root, depth) as old:
        async with over(own).stream(root, recursive=True) as stream:
            touch(old, "file")
            assert await without_markers(stream, f"create {at(depth, 'file')}") == [f"create {at(depth, 'file')}"]
            with chain(root, depth + 20) as new:
                told = await without_markers(stream, f"create {at(depth + 20)}")
                assert told == [f"create {at(number)}" for number in range(depth + 1, depth + 21)]
                await stream.events()  # until what was made is followed
                touch(new, "later")
                later = f"create {at(depth + 20, 'later')}"
                assert await without_markers(stream, later) == [later]
    await until_watches(own.server_pid(), 0)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_what_is_deeper_still_ends_the_watch(own: Daemon, root: Path, when: str):
    depth = LONGEST // len(NAME) + 1
    if when == "before":
        with chain(root, depth):
            with pytest.raises(RpcError) as refused:
                async with over(own).stream(root, recursive=True):
                    pass
            error = refused.value
    else:
        async with over(own).stream(root, recursive=True) as stream:
            with chain(root, depth):
                _, error = await stream.to_the_end()
    assert error.code == "resource_exhausted"
    assert f"{root} is too deep to be watched" in error.message
    await until_watches(own.server_pid(), 0)
