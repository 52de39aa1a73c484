"""Watching where the kernel allows only a few watches: in a user namespace of its own, which has its own limits."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, daemon_of
from tests.support.watching import Watching, said
from tests.support.wires import RpcError

WATCHES = 10


@contextmanager
def limited(name: str, value: int) -> Iterator[Daemon]:
    """A daemon in a namespace with a limit of its own; the machine's stay as they are."""
    setting = f"/proc/sys/user/max_inotify_{name}"
    probe = ["unshare", "--user", "--map-root-user", "sh", "-c", f"echo {value} > {setting}"]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("no user namespace can be made here, or it has no limits of its own")
    script = f'echo {value} > {setting} && exec "$0" -m envd --port 0 --listen 127.0.0.1'
    with daemon_of([*probe[:5], script, sys.executable]) as daemon:
        yield daemon


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def over(daemon: Daemon) -> Watching:
    return Watching(Client(daemon.port, Codec.PROTO))


def make(root: Path, count: int) -> None:
    for number in range(count):
        (root / f"directory{number}").mkdir(parents=True)


async def refusal(watching: Watching, root: Path, kind: str) -> RpcError:
    try:
        if kind == "stream":
            async with watching.stream(root, recursive=True):
                pass
        else:
            await watching.create(root, recursive=True)
    except RpcError as error:
        return error
    raise AssertionError("it was not refused")


@pytest.mark.parametrize("kind", ["stream", "polled"])
async def test_too_few_watches_are_an_error_that_says_what_to_raise(root: Path, kind: str):
    make(root, WATCHES)
    with limited("watches", WATCHES) as daemon:
        error = await refusal(over(daemon), root, kind)
        assert error.code == "resource_exhausted"
        assert "fs.inotify.max_user_watches" in error.message
        # What was taken for the attempt was given back.
        (root / "directory0").rmdir()
        async with over(daemon).stream(root, recursive=True) as stream:
            (root / "directory1" / "file").touch()
            assert await stream.said() == ["create directory1/file"]


async def test_too_few_instances_are_an_error_that_says_what_to_raise(root: Path):
    with limited("instances", 0) as daemon:
        error = await refusal(over(daemon), root, "stream")
        assert error.code == "resource_exhausted"
        assert "fs.inotify.max_user_instances" in error.message


async def test_any_number_of_watchers_needs_one_instance(root: Path):
    with limited("instances", 1) as daemon:
        watchers = [await over(daemon).create(root) for _ in range(5)]
        (root / "file").touch()
        for watcher in watchers:
            assert await watcher.said() == ["create file"]


@pytest.mark.parametrize("kind", ["stream", "polled"])
async def test_a_tree_that_outgrows_the_limit_ends_its_watch_and_no_other(root: Path, tmp_path: Path, kind: str):
    other = tmp_path / "other"
    other.mkdir()
    with limited("watches", WATCHES) as daemon:
        watching = over(daemon)
        async with watching.stream(other) as bystander:
            if kind == "stream":
                async with watching.stream(root, recursive=True) as stream:
                    make(root, WATCHES)
                    events, error = await stream.to_the_end()
            else:
                watcher = await watching.create(root, recursive=True)
                make(root, WATCHES)
                events = []
                async with asyncio.timeout(60):
                    while True:
                        try:
                            events += [said(event) for event in (await watcher.poll()).events]
                        except RpcError as found:
                            error = found
                            break
            assert events[0] == "create directory0"
            assert error.code == "resource_exhausted"
            assert "fs.inotify.max_user_watches" in error.message
            (other / "file").touch()
            assert await bystander.said() == ["create file"]
            # What the watch had is free again.
            for number in range(WATCHES // 2):
                (root / f"directory{number}").rmdir()
            async with asyncio.timeout(60), watching.stream(root, recursive=True) as stream:
                (root / "directory9" / "file").touch()
                assert await stream.said() == ["create directory9/file"]
