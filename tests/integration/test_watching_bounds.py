"""Trees with more directories than may be watched, and file systems below them that are not entered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envd.config import Config
from envd.config import Watching as Sizes
from tests.integration.test_watching import inotify_watches, over, until_watches
from tests.support.daemon import Daemon
from tests.support.disks import mounted
from tests.support.readers import configured_daemon
from tests.support.watching import said
from tests.support.wires import RpcError

MOST = 8
MOST_OF_ALL = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
async def small() -> AsyncIterator[Daemon]:
    sizes = Sizes(directories=MOST, all_directories=MOST_OF_ALL)
    async with configured_daemon(Config(watching=sizes)) as daemon:
        yield daemon


def make(root: Path, count: int) -> None:
    for number in range(count):
        (root / f"directory{number}" / "file").parent.mkdir(parents=True)


async def refusal(daemon: Daemon, root: Path, kind: str) -> RpcError:
    try:
        if kind == "stream":
            async with over(daemon).stream(root, recursive=True):
                pass
        else:
            await over(daemon).create(root, recursive=True)
    except RpcError as error:
        return error
    raise AssertionError("it was not refused")


@pytest.mark.parametrize("kind", ["stream", "polled"])
async def test_a_tree_that_is_too_large_is_refused_and_leaves_nothing(small: Daemon, root: Path, kind: str):
    make(root, MOST)
    error = await refusal(small, root, kind)
    assert error.code == "resource_exhausted"
    assert f"more than {MOST} directories" in error.message
    assert "farther down" in error.message
    assert inotify_watches(small.server_pid()) == 0
    (root / "directory0").rmdir()  # as many as there may be
    async with over(small).stream(root, recursive=True) as stream:
        (root / "directory1" / "file").touch()
        assert await stream.said() == ["create directory1/file"]


@pytest.mark.parametrize("kind", ["stream", "polled"])
async def test_all_watches_together_have_a_bound(small: Daemon, root: Path, kind: str):
    make(root, MOST - 1)
    async with over(small).stream(root, recursive=True) as stream:
        error = await refusal(small, root, kind)
        assert error.code == "resource_exhausted"
        assert f"{MOST_OF_ALL} directories" in error.message
        assert inotify_watches(small.server_pid()) == MOST
        (root / "directory1" / "file").touch()  # the other is not disturbed
        assert await stream.said() == ["create directory1/file"]
        async with over(small).stream(root / "directory2", recursive=True) as narrower:
            (root / "directory2" / "file").touch()
            assert await narrower.said() == ["create file"]
    await until_watches(small.server_pid(), 0)
    async with over(small).stream(root, recursive=True):
        assert inotify_watches(small.server_pid()) == MOST


async def test_a_tree_that_outgrows_the_bound_ends_its_watch_and_no_other(small: Daemon, root: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    async with over(small).stream(tmp_path / "other") as bystander:
        async with over(small).stream(root, recursive=True) as stream:
            make(root, MOST)
            events, error = await stream.to_the_end()
        assert events[0] == "create directory0"
        assert error.code == "resource_exhausted"
        await until_watches(small.server_pid(), 1)
        (tmp_path / "other" / "file").touch()
        assert await bystander.said() == ["create file"]


async def test_one_directory_alone_is_watched_however_many_are_in_it(small: Daemon, root: Path):
    make(root, 2 * MOST_OF_ALL)
    async with over(small).stream(root) as stream:
        (root / "file").touch()
        assert await stream.said() == ["create file"]


@pytest.mark.parametrize("kind", ["proc", "sysfs", "devpts"])
async def test_what_the_kernel_makes_up_is_not_entered(daemon: Daemon, root: Path, kind: str):
    for name in ("before", "mounted", "then"):
        (root / name).mkdir()
    with mounted(root / "mounted", "-t", kind, kind):
        before = inotify_watches(daemon.server_pid())
        async with over(daemon).stream(root, recursive=True) as stream:
            assert inotify_watches(daemon.server_pid()) == before + 3  # not "mounted"
            (root / "then" / "file").touch()
            assert await stream.said() == ["create then/file"]
        await until_watches(daemon.server_pid(), before)


async def test_a_disk_that_is_mounted_below_is_entered(daemon: Daemon, root: Path):
    (root / "disk").mkdir()
    with mounted(root / "disk", "-t", "tmpfs", "tmpfs"):
        async with over(daemon).stream(root, recursive=True) as stream:
            (root / "disk" / "file").touch()
            assert [said(event) for event in await stream.events()] == ["create disk/file"]
