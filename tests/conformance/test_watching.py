"""WatchDir, CreateWatcher, GetWatcherEvents and RemoveWatcher."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from envd_proto.filesystem.filesystem_pb2 import FileType, WatchDirRequest, WatchDirResponse
from tests.support.connect import Client
from tests.support.filesystem import SERVICE
from tests.support.watching import Stream, Watcher, Watching, said
from tests.support.wires import RpcError, Wire

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def watching(wire: Wire) -> Watching:
    return Watching(wire)


@asynccontextmanager
async def watched(watching: Watching, root: Path, kind: str, **options: object) -> AsyncIterator[Stream | Watcher]:
    """Either way to watch."""
    if kind == "stream":
        async with watching.stream(root, **options) as stream:
            yield stream
    else:
        watcher = await watching.create(root, **options)
        yield watcher
        await watcher.remove()


either = pytest.mark.parametrize("kind", ["stream", "polled"])


async def refused(call) -> RpcError:
    with pytest.raises(RpcError) as error:
        await call
    return error.value


async def first(watching: Watching, path: object, **options: object) -> None:
    async with watching.stream(path, **options):
        pass


# Beginning.


@pytest.mark.line(112)
async def test_the_first_message_is_the_start(watching: Watching, root: Path):
    request = WatchDirRequest(path=str(root))
    async with watching.wire.server_stream(f"{SERVICE}/WatchDir", request, WatchDirResponse) as incoming:
        assert (await anext(incoming)) == WatchDirResponse(start=WatchDirResponse.StartEvent())


@either
@pytest.mark.line(113)
async def test_what_is_not_there_or_no_directory_is_refused(watching: Watching, root: Path, kind: str):
    (root / "file").touch()
    begin = first if kind == "stream" else Watching.create
    missing = await refused(begin(watching, root / "missing"))
    text = f"path {root}/missing not found: stat {root}/missing: no such file or directory"
    assert (missing.code, missing.message) == ("not_found", text)
    no_directory = await refused(begin(watching, root / "file"))
    assert no_directory.code == "invalid_argument"
    assert no_directory.message == f"path {root}/file not a directory"


async def test_a_path_is_that_of_the_caller(watching: Watching, root: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(root)
    async with watching.stream(tmp_path / "link") as stream:
        (root / "file").touch()
        assert (await stream.said()) == ["create file"]
    another = await refused(first(watching, "~nobody"))
    assert another.code == "invalid_argument"


# Changes.


@either
@pytest.mark.line(115)
async def test_a_new_file_is_a_create(watching: Watching, root: Path, kind: str):
    async with watched(watching, root, kind) as watch:
        (root / "file").touch()
        (root / "directory").mkdir()
        (root / "link").symlink_to("nowhere")
        assert await watch.said() == ["create file", "create directory", "create link"]


@either
@pytest.mark.line(116)
async def test_writing_is_a_write(watching: Watching, root: Path, kind: str):
    (root / "file").write_text("old")
    async with watched(watching, root, kind) as watch:
        (root / "file").write_text("new")
        assert await watch.said() == ["write file"]


@either
@pytest.mark.line(117)
async def test_changed_attributes_are_a_chmod_and_removal_a_remove(watching: Watching, root: Path, kind: str):
    (root / "file").touch()
    async with watched(watching, root, kind) as watch:
        (root / "file").chmod(0o600)
        assert await watch.said() == ["chmod file"]
        os.utime(root / "file")
        assert await watch.said() == ["chmod file"]
        (root / "file").unlink()
        assert await watch.said() == ["remove file"]


@either
@pytest.mark.line(118)
async def test_a_rename_inside_is_a_rename_and_a_create(watching: Watching, root: Path, kind: str):
    (root / "old").touch()
    async with watched(watching, root, kind) as watch:
        (root / "old").rename(root / "new")
        assert await watch.said() == ["rename old", "create new"]
        (root / "other").touch()
        (root / "new").rename(root / "other")
        assert await watch.said() == ["create other", "rename new", "create other"]


@either
@pytest.mark.line(119)
async def test_what_moves_in_is_created_and_what_moves_out_renamed(
    watching: Watching, root: Path, tmp_path: Path, kind: str
):
    (tmp_path / "outside").write_text("content")
    async with watched(watching, root, kind) as watch:
        (tmp_path / "outside").rename(root / "inside")
        assert await watch.said() == ["create inside"]
        (root / "inside").rename(tmp_path / "outside")
        assert await watch.said() == ["rename inside"]


@either
@pytest.mark.line(120)
async def test_without_recursion_nothing_below_is_told(watching: Watching, root: Path, kind: str):
    (root / "sub").mkdir()
    async with watched(watching, root, kind) as watch:
        (root / "sub" / "file").write_text("content")
        (root / "new").mkdir()
        (root / "new" / "file").touch()
        assert await watch.said() == ["create new"]


@either
@pytest.mark.line(121)
async def test_names_are_relative_to_the_root(watching: Watching, root: Path, kind: str):
    (root / "sub" / "sub").mkdir(parents=True)
    async with watched(watching, root, kind, recursive=True) as watch:
        (root / "sub" / "file").touch()
        (root / "sub" / "sub" / "file").touch()
        (root / "sub" / "sub").chmod(0o700)
        root.chmod(0o700)
        assert await watch.said() == ["create sub/file", "create sub/sub/file", "chmod sub/sub", "chmod ."]


@either
@pytest.mark.line(122)
async def test_directories_made_at_once_are_each_created(watching: Watching, root: Path, kind: str):
    async with watched(watching, root, kind, recursive=True) as watch:
        (root / "a" / "b" / "c").mkdir(parents=True)
        assert await watch.said() == ["create a", "create a/b", "create a/b/c"]


@either
@pytest.mark.line(123)
async def test_files_in_a_new_directory_are_told_with_their_content(watching: Watching, root: Path, kind: str):
    async with watched(watching, root, kind, recursive=True) as watch:
        (root / "new").mkdir()
        (root / "new" / "file").write_text("content")
        (root / "new" / "empty").touch()
        events = await watch.said()
        # What is written while its directory is being looked at may be told by the kernel, too.
        assert sorted(set(events)) == ["create new", "create new/empty", "create new/file", "write new/file"]
        assert len(events) == 4 or events.count("write new/file") == 2
        assert events.index("create new/file") < events.index("write new/file")
        (root / "new" / "later").touch()
        assert await watch.said() == ["create new/later"]


@either
@pytest.mark.line(124)
async def test_after_a_directory_is_renamed_events_have_its_new_name(watching: Watching, root: Path, kind: str):
    (root / "foo" / "sub").mkdir(parents=True)
    (root / "foobar").mkdir()
    async with watched(watching, root, kind, recursive=True) as watch:
        (root / "foo").rename(root / "new")
        assert await watch.said() == ["rename foo", "create new", "create new/sub"]
        (root / "new" / "file").touch()
        (root / "new" / "sub" / "file").touch()
        (root / "foobar" / "file").touch()
        assert await watch.said() == ["create new/file", "create new/sub/file", "create foobar/file"]


async def test_a_directory_that_moves_in_is_told_with_what_is_in_it_and_followed(
    watching: Watching, root: Path, tmp_path: Path
):
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    (tmp_path / "outside" / "sub" / "file").write_text("content")
    async with watching.stream(root, recursive=True) as stream:
        (tmp_path / "outside").rename(root / "inside")
        assert await stream.said() == ["create inside", "create inside/sub", "create inside/sub/file"]
        (root / "inside" / "sub" / "file").write_text("more")
        assert await stream.said() == ["write inside/sub/file"]
        (root / "inside").rename(tmp_path / "outside")
        assert await stream.said() == ["rename inside"]
        (tmp_path / "outside" / "sub" / "file").write_text("unseen")
        assert await stream.said() == []


async def test_linked_directories_are_not_entered(watching: Watching, root: Path, tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    async with watching.stream(root, recursive=True) as stream:
        (root / "another").symlink_to(tmp_path / "outside")
        (tmp_path / "outside" / "file").touch()
        assert await stream.said() == ["create another"]


async def test_a_name_that_is_not_utf8_is_told_with_its_bytes(watching: Watching, root: Path):
    async with watching.stream(root) as stream:
        open(os.fsencode(root) + b"/\xff", "wb").close()
        (event,) = await stream.events()
        assert (event.name, event.raw_name) == ("\N{REPLACEMENT CHARACTER}", b"\xff")


# Entries.


@pytest.mark.line(125)
async def test_entries_come_with_what_is_still_there(watching: Watching, root: Path):
    (root / "sub").mkdir()
    async with watching.stream(root, recursive=True, include_entry=True) as stream:
        (root / "sub" / "file").write_text("content")
        (root / "sub" / "file").chmod(0o640)
        events = await stream.events()
        assert {said(event) for event in events} == {"create sub/file", "write sub/file", "chmod sub/file"}
        for event in events:
            entry = event.entry
            assert (entry.name, entry.path, entry.type) == ("file", f"{root}/sub/file", FileType.FILE_TYPE_FILE)
        assert (events[-1].entry.size, events[-1].entry.mode) == (7, 0o640)
        (root / "sub" / "file").rename(root / "new")
        (root / "new").unlink()
        events = await stream.events()
        assert [said(event) for event in events] == ["rename sub/file", "create new", "remove new"]
        assert [event.HasField("entry") for event in events[::2]] == [False, False]


@pytest.mark.line(125)
async def test_a_watcher_that_is_polled_has_entries_too(watching: Watching, root: Path):
    watcher = await watching.create(root, include_entry=True)
    (root / "file").write_text("content")
    assert {event.entry.path for event in await watcher.events()} == {f"{root}/file"}
    await watcher.remove()


async def test_without_being_asked_for_no_entries_come(watching: Watching, root: Path):
    async with watching.stream(root) as stream:
        (root / "file").write_text("content")
        assert not any(event.HasField("entry") for event in await stream.events())


@pytest.mark.line(131)
async def test_an_old_client_gets_events_without_entries_and_is_told_so(client: Client, root: Path):
    old = Watching(client.with_headers({"User-Agent": "connect-python"}))
    async with old.stream(root, include_entry=True) as stream:
        (root / "file").write_text("content")
        assert {said(event) for event in await stream.events()} == {"create file", "write file"}
        assert not any(message.filesystem.HasField("entry") for message in stream.messages)
        assert stream.incoming.raw.headers["X-E2B-Legacy-SDK"] == "true"  # type: ignore[attr-defined]


# The end of the root.


@pytest.mark.line(126)
async def test_removal_of_the_root_ends_the_stream(watching: Watching, root: Path):
    (root / "file").touch()
    async with watching.stream(root, recursive=True) as stream:
        shutil.rmtree(root)
        events, error = await stream.to_the_end()
        assert events == ["remove file", "remove ."]
        assert (error.code, error.message) == (
            "not_found",
            f"{root} was removed while it was watched: watch again once it is there",
        )


@pytest.mark.line(126)
async def test_renaming_the_root_ends_the_stream(watching: Watching, root: Path):
    async with watching.stream(root) as stream:
        root.rename(root.parent / "new")
        events, error = await stream.to_the_end()
        assert events == ["rename ."]
        assert error.code == "not_found"
        assert "was renamed while it was watched" in error.message


@pytest.mark.line(126)
async def test_a_watcher_without_its_root_hands_out_what_it_has_and_then_fails(watching: Watching, root: Path):
    watcher = await watching.create(root)
    (root / "file").touch()
    shutil.rmtree(root)
    found: list[str] = []
    async with asyncio.timeout(60):
        while "remove ." not in found:
            found += [said(event) for event in (await watcher.poll()).events]
    assert found == ["create file", "remove file", "remove ."]
    error = await refused(watcher.poll())
    assert error.code == "not_found"
    assert "was removed while it was watched" in error.message
    await watcher.remove()


# Polling.


@pytest.mark.line(127)
async def test_a_watcher_has_an_id_nobody_guesses(watching: Watching, root: Path):
    watchers = [await watching.create(root) for _ in range(2)]
    assert all(re.fullmatch(r"w[a-z0-9]{20}", watcher.ident) for watcher in watchers)
    assert watchers[0].ident != watchers[1].ident
    for watcher in watchers:
        await watcher.remove()


@pytest.mark.line(128)
async def test_events_are_handed_out_once(watching: Watching, root: Path):
    watcher = await watching.create(root)
    (root / "file").touch()
    assert await watcher.said() == ["create file"]
    (root / "last").touch()
    await watcher.events()
    while (await watcher.poll()).events:
        pass
    response = await watcher.poll()
    assert not response.events
    assert not response.overflowed
    await watcher.remove()


@pytest.mark.line(129, 130)
async def test_an_unknown_watcher_is_not_found(watching: Watching, root: Path):
    watcher = await watching.create(root)
    await watcher.remove()
    for call in (watcher.poll, watcher.remove):
        error = await refused(call())
        assert (error.code, error.message) == ("not_found", f"watcher with id {watcher.ident} not found")


async def test_events_stay_until_a_cursor_confirms_them(watching: Watching, root: Path):
    watcher = await watching.create(root)
    (root / "a").touch()
    (root / "b").touch()
    (root / "c").touch()
    async with asyncio.timeout(60):
        while len((events := (await watcher.poll(""))).events) < 3:
            pass
    again = await watcher.poll("")
    assert [event.name for event in again.events] == ["a", "b", "c"]
    rest = await watcher.poll(again.events[0].cursor)
    assert [event.name for event in rest.events] == ["b", "c"]
    assert [event.cursor for event in rest.events] == [event.cursor for event in events.events][1:]
    assert not (await watcher.poll(rest.events[-1].cursor)).events
    error = await refused(watcher.poll("nonsense"))
    assert error.code == "invalid_argument"
    await watcher.remove()


# Streams.


async def test_silence_is_broken_by_keepalives(watching: Watching, root: Path):
    wire = watching.wire.with_headers({"Keepalive-Ping-Interval": "1"})
    async with Watching(wire).stream(root) as stream:
        assert (await stream.next()).HasField("keepalive")
        (root / "file").touch()
        assert said((await stream.next()).filesystem) == "create file"
        assert (await stream.next()).HasField("keepalive")


async def test_each_of_many_watches_of_a_directory_hears_of_everything(watching: Watching, root: Path):
    async with watching.stream(root) as one, watching.stream(root, recursive=True) as other:
        (root / "file").touch()
        assert await one.said() == ["create file"]
        assert "create file" in await other.said()
    async with watching.stream(root) as one:
        async with watching.stream(root):
            pass
        (root / "another").touch()
        assert await one.said() == ["create another"]


@pytest.mark.line(35)
async def test_a_watch_ends_at_its_deadline(watching: Watching, root: Path):
    request = WatchDirRequest(path=str(root))
    call = watching.wire.server_stream(f"{SERVICE}/WatchDir", request, WatchDirResponse, timeout_s=3)
    async with call as incoming:
        assert (await anext(incoming)).HasField("start")
        with pytest.raises(RpcError) as error:
            await anext(incoming)
        assert error.value.code == "deadline_exceeded"
