"""Directories above watched ones that are renamed while nobody, or only a new server, looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envd.config import Config
from envd.config import Watching as Sizes
from tests.integration.test_watching import fill_the_queue, on_disk, over, paused, recovered
from tests.support.daemon import Daemon, running_daemon
from tests.support.readers import configured_daemon
from tests.support.watching import said

DEADLINE_S = 60.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "above" / "root"
    made.mkdir(parents=True)
    return made


@pytest.fixture
async def own() -> AsyncIterator[Daemon]:
    async with running_daemon() as daemon:
        yield daemon


async def test_a_new_server_looks_for_the_directory_too(own: Daemon, root: Path):
    watcher = await over(own).create(root, recursive=True)
    own.kill_server()
    (root / "meanwhile").touch()
    assert "create meanwhile" in await recovered(watcher)
    root.parent.rename(root.parent.parent / "away")
    told, error = await watcher.to_the_end()
    assert told[-1] == "rename ."
    assert error.code == "not_found"


async def test_a_loss_is_made_good_once_the_path_leads_back(root: Path):
    away = root.parent.parent / "away"
    (root / "removed").touch()
    async with configured_daemon(Config(watching=Sizes(away_s=DEADLINE_S))) as daemon:  # noqa: SIM117 - one thing each
        async with over(daemon).stream(root, recursive=True, cursor="") as stream:
            with paused(daemon):
                fill_the_queue(root)
                (root / "new" / "deep").mkdir(parents=True)
                (root / "removed").unlink()
                root.parent.rename(away)
            while not stream.overflows:
                await stream.next()
            (away / "root" / "new" / "file").touch()
            away.rename(root.parent)
            told = [said(message.filesystem) for message in stream.messages if message.HasField("filesystem")]
            told += await recovered(stream)
            assert {word for word in told if "marker" not in word} >= {
                "remove removed",
                "create new",
                "create new/deep",
                "create new/file",
            }
            assert on_disk(root) == {"new", "new/deep", "new/file"}


async def test_a_client_that_was_behind_hears_of_the_end(root: Path):
    async with configured_daemon(Config(watching=Sizes(events=10))) as daemon:
        watcher = await over(daemon).create(root)
        for number in range(100):
            (root / str(number)).touch()
        root.parent.rename(root.parent.parent / "away")
        told, error = await watcher.to_the_end()
        assert told[-1] == "rename ."
        assert error.code == "not_found"
