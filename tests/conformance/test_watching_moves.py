"""Watching directories whose path stops to lead there, because of what happens above them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from envd.config import Config
from envd.config import Watching as Sizes
from tests.support.filesystem import Files
from tests.support.readers import configured_daemon
from tests.support.watching import Stream, Watcher, Watching, said
from tests.support.wires import OpenWire, RpcError, Wire

DEADLINE_S = 60.0


@dataclass(slots=True)
class Watches:
    """A directory watched in every way at once."""

    streams: list[Stream]
    watchers: list[Watcher]

    async def ends(self) -> list[tuple[list[str], RpcError]]:
        """What each tells until it fails, and the error."""
        waiting = [stream.to_the_end() for stream in self.streams] + [one.to_the_end() for one in self.watchers]
        return await asyncio.gather(*waiting)


@asynccontextmanager
async def watched(wire: Wire, path: Path) -> AsyncIterator[Watches]:
    watching = Watching(wire)
    async with AsyncExitStack() as stack:
        streams, watchers = [], []
        for recursive in (False, True):
            streams.append(await stack.enter_async_context(watching.stream(path, recursive=recursive)))
            watchers.append(await watching.create(path, recursive=recursive))
        yield Watches(streams, watchers)
        for watcher in watchers:
            await watcher.remove()


@pytest.fixture
def above(tmp_path: Path) -> Path:
    made = tmp_path / "above"
    (made / "root" / "sub").mkdir(parents=True)
    return made


async def test_a_rename_above_that_is_undone_loses_nothing(open_wire: OpenWire, above: Path):
    async with configured_daemon(Config(watching=Sizes(away_s=DEADLINE_S))) as daemon:  # noqa: SIM117 - one thing each
        async with open_wire(daemon.port) as wire:
            await undone(wire, above)


async def undone(wire: Wire, above: Path) -> None:
    root, away = above / "root", above.parent / "away"
    async with watched(wire, root) as watches:
        above.rename(away)
        (away / "root" / "file").touch()
        (away / "root" / "new" / "deep").mkdir(parents=True)
        recursive = watches.streams[1]
        while said((await recursive.next()).filesystem) != "create new":
            pass
        for _ in range(3):  # by now the new directory could have been looked for by its old path
            await Files(wire).stat(away / "root")
        (away / "root" / "sub" / "below").touch()
        away.rename(above)
        (root / "new" / "deep" / "later").write_text("x")
        flat, deep = {"create file", "create new"}, {"create new/deep", "create new/deep/later", "create sub/below"}
        for watch in (watches.streams[0], watches.watchers[0]):
            assert set(await watch.said()) == flat
        told = [said(message.filesystem) for message in recursive.messages] + await recursive.said()
        assert {word for word in told if not word.startswith("write")} == flat | deep
        assert len(told) == len(set(told))
        told = await watches.watchers[1].said()
        assert {word for word in told if not word.startswith("write")} == flat | deep


@pytest.mark.parametrize("instead", ["nothing", "another"])
async def test_a_rename_above_ends_the_watch(wire: Wire, above: Path, instead: str):
    root, away = above / "root", above.parent / "away"
    async with watched(wire, root) as watches:
        above.rename(away)
        if instead == "another":
            root.mkdir(parents=True)
            (root / "sub").mkdir()
            (root / "foreign").touch()
        for told, error in await watches.ends():
            assert told == ["rename ."]
            assert (error.code, error.message) == (
                "not_found",
                f"{root} was moved, with a directory above it, while it was watched: watch again once it is there",
            )


async def test_what_is_made_while_the_path_leads_elsewhere_is_never_looked_for_there(wire: Wire, above: Path):
    root, away = above / "root", above.parent / "away"
    async with watched(wire, root) as watches:
        above.rename(away)
        (root / "new").mkdir(parents=True)
        (root / "new" / "foreign").touch()
        (away / "root" / "new").mkdir()
        (away / "root" / "new" / "ours").touch()
        for told, error in await watches.ends():
            assert error.code == "not_found"
            assert not [word for word in told if "foreign" in word]
            assert told[-1] == "rename ."


async def test_a_link_that_leads_there_is_as_good(wire: Wire, above: Path):
    root, away = above / "root", above.parent / "away"
    async with watched(wire, root) as watches:
        above.rename(away)
        above.symlink_to(away)
        for number in range(3):
            (root / f"new{number}" / "deep").mkdir(parents=True)
            assert set(await watches.streams[1].said()) == {f"create new{number}", f"create new{number}/deep"}
        assert len(await watches.watchers[0].said()) == 3
