"""Watching directories that others are mounted over, or that are unmounted."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.test_watching import over
from tests.support.daemon import Daemon
from tests.support.disks import mounted
from tests.support.watching import Stream


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "above" / "root"
    made.mkdir(parents=True)
    return made


async def ends(stream: Stream) -> tuple[list[str], str, str]:
    told, error = await stream.to_the_end()
    return told, error.code, error.message.removeprefix(f"{stream.root} was ").partition(" while it was watched")[0]


async def test_what_is_mounted_over_the_directory_ends_the_watch(daemon: Daemon, root: Path):
    async with over(daemon).stream(root, recursive=True) as stream:
        with mounted(root, "-t", "tmpfs", "tmpfs"):
            assert await ends(stream) == (["remove ."], "not_found", "replaced by another directory")


async def test_what_is_mounted_above_the_directory_ends_the_watch(daemon: Daemon, root: Path):
    async with over(daemon).stream(root, recursive=True) as stream:
        with mounted(root.parent, "-t", "tmpfs", "tmpfs"):
            assert await ends(stream) == (["rename ."], "not_found", "moved, with a directory above it,")


async def test_what_is_unmounted_ends_the_watch(daemon: Daemon, root: Path):
    async with AsyncExitStack() as stack:
        with mounted(root.parent, "-t", "tmpfs", "tmpfs"):
            root.mkdir()
            stream = await stack.enter_async_context(over(daemon).stream(root, recursive=True))
        assert await ends(stream) == (["remove ."], "not_found", "unmounted")
