"""Watching under load, past the kernel's limits, and across deaths."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from envd.config import Config
from envd.config import Watching as Sizes
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.files import answer, compose, put
from tests.support.filesystem import Files
from tests.support.readers import configured_daemon
from tests.support.users import let_through
from tests.support.watching import Stream, Watcher, Watching, said
from tests.support.wires import RpcError, Wire

QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
DEADLINE_S = 60.0
DAC_READ_SEARCH = 1 << 2
LARGE = 4000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def over(daemon: Daemon, codec: Codec = Codec.PROTO) -> Watching:
    return Watching(Client(daemon.port, codec))


@pytest.fixture
async def own() -> AsyncIterator[Daemon]:
    """A daemon for one test, which may do anything to it."""
    async with running_daemon() as daemon:
        yield daemon


class Known:
    """What a client knows that applies every event to what it has listed at the beginning."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names = on_disk(root)
        self.parents = {name.rpartition("/")[0] for name in self.names}
        self.created: list[str] = []
        self.written: set[str] = set()

    def apply(self, words: list[str]) -> None:
        for word in words:
            kind, _, name = word.partition(" ")
            if kind == "create":
                self.created.append(name)
                self.names.add(name)
                self.parents.add(name.rpartition("/")[0])
            elif kind in ("remove", "rename"):
                self.names.discard(name)
                if name in self.parents:
                    self.names -= {known for known in self.names if known.startswith(f"{name}/")}
            elif kind == "write":
                self.written.add(name)


def on_disk(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


async def settled(watch: Stream | Watcher) -> list[str]:
    return [said(event) for event in await watch.events()]


async def recovered(watch: Stream | Watcher) -> list[str]:
    """As `settled` behind a loss: differences come in any order, so that the first marker may overtake others."""
    return await settled(watch) + await settled(watch)


def paused(daemon: Daemon):
    """The server stands still for the length of a block, as on a machine that is very busy."""

    class Paused:
        def __enter__(self) -> None:
            os.kill(daemon.server_pid(), signal.SIGSTOP)

        def __exit__(self, *_: object) -> None:
            os.kill(daemon.server_pid(), signal.SIGCONT)

    return Paused()


def inotify_watches(pid: int) -> int:
    """Watches of all inotify instances of a process."""
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed by now
            if os.readlink(f"/proc/{pid}/fd/{fd}") != "anon_inode:inotify":
                continue
            found += Path(f"/proc/{pid}/fdinfo/{fd}").read_text().count("inotify wd:")
    return found


async def until_watches(pid: int, expected: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while inotify_watches(pid) != expected:
            await asyncio.sleep(0.01)


# Races.


@pytest.mark.slow
async def test_a_thousand_trees_made_at_once_are_told_completely_and_once(own: Daemon, root: Path):
    script = "i=0; while [ $i -lt 1000 ]; do mkdir -p $i/b/c/d && echo x > $i/b/c/d/f; i=$((i+1)); done"
    async with over(own).stream(root, recursive=True) as stream:
        maker = await asyncio.create_subprocess_exec("sh", "-c", script, cwd=root)
        known = Known(root)
        known.names.clear()
        while maker.returncode is None:
            known.apply(await settled(stream))
            await asyncio.wait([asyncio.ensure_future(maker.wait())], timeout=0.05)
        known.apply(await settled(stream))
    assert known.names == on_disk(root)
    assert len(known.created) == len(set(known.created)) == 5000
    assert known.written >= {f"{number}/b/c/d/f" for number in range(1000)}


@pytest.mark.slow
async def test_directories_that_are_renamed_under_load_keep_the_right_names(own: Daemon, root: Path):
    for name in ("foo/sub", "foobar/sub"):
        (root / name).mkdir(parents=True)
    async with over(own).stream(root, recursive=True) as stream:
        known = Known(root)

        def load() -> None:
            for turn in range(300):
                (root / "foo").rename(root / f"foo{turn}")
                (root / f"foo{turn}" / "sub" / f"file{turn}").write_text("x")
                (root / "foobar" / "sub" / f"file{turn}").write_text("x")
                (root / f"foo{turn}").rename(root / "foo")
                if turn % 10 == 0:
                    (root / "foo" / f"new{turn}" / "deep").mkdir(parents=True)
                    shutil.rmtree(root / "foo" / f"new{turn}")

        loading = asyncio.get_running_loop().run_in_executor(None, load)
        while not loading.done():
            known.apply(await settled(stream))
        await loading
        known.apply(await settled(stream))
        assert known.names == on_disk(root)
        assert {f"foobar/sub/file{turn}" for turn in range(300)} <= set(known.created)
        (root / "foo" / "sub" / "last").touch()
        assert await settled(stream) == ["create foo/sub/last"]


# Losses.


@pytest.mark.parametrize("kind", ["cursor", "published", "polled"])
async def test_an_overflow_is_told_and_made_good(own: Daemon, root: Path, kind: str):
    for name in ("kept", "rewritten", "removed", "restricted", "tree/below/file"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("old")
    watching = over(own)
    if kind == "polled":
        watcher = await watching.create(root, recursive=True)
        known = Known(root)
        events = await overflow(own, root, watcher)
        assert watcher.overflowed
    else:
        options = {"cursor": ""} if kind == "cursor" else {}
        async with watching.stream(root, recursive=True, **options) as stream:
            known = Known(root)
            events = await overflow(own, root, stream)
            assert [overflow.reset for overflow in stream.overflows] == ([False] if kind == "cursor" else [])
    known.apply(events)
    assert known.names == on_disk(root)
    assert {"rewritten", "new/deep/file"} <= known.written
    assert "kept" not in known.written
    assert events.count("remove removed") == 1
    assert [event for event in events if "tree" in event] == [
        "remove tree/below/file",
        "remove tree/below",
        "remove tree",
    ]
    assert "chmod restricted" in events
    assert len(known.created) == len(set(known.created))


async def overflow(daemon: Daemon, root: Path, watch: Stream | Watcher) -> list[str]:
    """More changes than the kernel keeps, while the server cannot look, and others behind them."""
    with paused(daemon):
        fill_the_queue(root)
        (root / "rewritten").write_text("new content")
        (root / "removed").unlink()
        (root / "restricted").chmod(0o600)
        shutil.rmtree(root / "tree")
        (root / "new" / "deep").mkdir(parents=True)
        (root / "new" / "deep" / "file").write_text("new")
        (root / "empty").touch()
    events = await recovered(watch)
    (root / "new" / "deep" / "later").touch()
    later = await settled(watch)
    assert later == ["create new/deep/later"]
    return events + later


def fill_the_queue(root: Path) -> None:
    """Have the kernel lose what comes next. The name is one of the daemon's own, which nobody is told of."""
    path, other = str(root / ".envd-0123456789abcdef.tmp"), str(root / ".envd-fedcba9876543210.tmp")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    for _ in range(QUEUE // 4 + 10):
        os.rename(path, other)
        os.rename(other, path)
    os.unlink(path)


async def until_known(known: Known, stream: Stream) -> None:
    """Read until the client knows what is on the disk, which does not change meanwhile."""
    expected = on_disk(known.root)
    async with asyncio.timeout(DEADLINE_S):
        while len(known.names) != len(expected) or known.names != expected:
            known.apply([said((await stream.next()).filesystem)])


async def test_a_client_that_does_not_read_holds_up_nobody_and_finds_the_differences_later(root: Path):
    # Each event with its long name takes 3 KB: sockets hold no more than some 2000.
    deep = root.joinpath(*("d" * 250 for _ in range(12)))
    deep.mkdir(parents=True)
    async with configured_daemon(Config(watching=Sizes(events=200))) as daemon:
        slow = over(daemon).stream(root, recursive=True, cursor="", receive_buffer_bytes=1 << 18)
        async with over(daemon).stream(deep) as brisk, slow as stalled:
            known = Known(root)
            for number in range(LARGE):
                (deep / str(number)).touch()
                if number % 100 == 99:
                    assert len(await brisk.events()) == 100
            count = len(known.names)
            while not stalled.overflows:
                known.apply([said((await stalled.next()).filesystem)])
            assert len(known.names) < count + LARGE
            await until_known(known, stalled)
            assert len(known.created) == len(set(known.created))


async def test_a_watcher_that_nobody_polls_finds_the_differences_later(root: Path):
    async with configured_daemon(Config(watching=Sizes(events=1000))) as daemon:
        watcher = await over(daemon).create(root)
        known = Known(root)
        async with over(daemon).stream(root) as stream:  # says when all of them have been seen
            for begin in range(0, 3000, 500):
                for number in range(begin, begin + 500):
                    (root / f"file{number}").touch()
                await stream.events()
            for number in range(0, 3000, 2):
                (root / f"file{number}").unlink()
                if number % 500 == 498:
                    await stream.events()
        known.apply(await recovered(watcher))
        assert watcher.overflowed
        assert known.names == on_disk(root)
        (root / "later").touch()
        assert await settled(watcher) == ["create later"]


async def test_a_tree_too_large_for_a_picture_is_still_followed(root: Path):
    for number in range(50):
        (root / f"old{number}").touch()
    async with configured_daemon(Config(watching=Sizes(entries=20))) as daemon:  # noqa: SIM117 - one thing each
        async with over(daemon).stream(root, recursive=True, cursor="") as stream:
            (root / "new" / "deep").mkdir(parents=True)
            (root / "new" / "deep" / "file").write_text("content")
            (root / "old1").unlink()
            events = await stream.said()
            assert events == [
                "create new",
                "create new/deep",
                "create new/deep/file",
                "write new/deep/file",
                "remove old1",
            ]
            with paused(daemon):
                fill_the_queue(root)
                (root / "another").mkdir()
            while not stream.overflows:
                await stream.next()
            assert [overflow.reset for overflow in stream.overflows] == [True]
            (root / "another" / "file").touch()
            assert await stream.said() == ["create another/file"]


async def test_a_tree_too_large_for_a_picture_is_an_error_for_clients_that_cannot_be_told(root: Path):
    for number in range(50):
        (root / f"old{number}").touch()
    async with configured_daemon(Config(watching=Sizes(entries=20))) as daemon:
        watcher = await over(daemon).create(root)
        async with over(daemon).stream(root) as stream:
            with paused(daemon):
                fill_the_queue(root)
            assert (await stream.to_the_end())[1].code == "data_loss"
        (root / "later").touch()
        found: list[str] = []
        errors: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while "create later" not in found:
                try:
                    found += [said(event) for event in (await watcher.poll()).events]
                except RpcError as error:
                    errors.append(error.code)
                    (root / "later").unlink(missing_ok=True)
                    (root / "later").touch()
        assert errors == ["data_loss"]


async def test_the_end_of_a_root_somebody_works_in_is_noticed(own: Daemon, root: Path):
    watching = Watching(Client(own.port, Codec.PROTO).with_headers({"Keepalive-Ping-Interval": "1"}))
    watcher = await watching.create(root)
    worker = await asyncio.create_subprocess_exec("sleep", "1000", cwd=root)
    async with watching.stream(root) as stream:
        root.rmdir()
        while not (message := await stream.next()).HasField("filesystem"):
            pass
        assert said(message.filesystem) == "remove ."
        assert (await stream.to_the_end())[1].code == "not_found"
    async with asyncio.timeout(DEADLINE_S):
        while not (response := await watcher.poll()).events:
            await asyncio.sleep(0.1)
    assert [said(event) for event in response.events] == ["remove ."]
    worker.kill()
    await worker.wait()


async def test_a_daemon_without_root_follows_what_it_may_read(root: Path, other_user):
    (root / "closed").mkdir(mode=0o700)
    (root / "open").mkdir()
    let_through(root)
    async with running_daemon(user=other_user.pw_name) as daemon:
        capabilities = re.search(r"CapEff:\s*(\w+)", Path(f"/proc/{daemon.server_pid()}/status").read_text())
        if int(capabilities[1], 16) & DAC_READ_SEARCH:
            pytest.skip("the interpreter can only be read with a right that lets the daemon read everything")
        async with over(daemon).stream(root, recursive=True) as stream:
            (root / "closed" / "file").touch()
            (root / "open" / "file").touch()
            (root / "closed-too").mkdir(mode=0o700)
            (root / "closed-too" / "file").touch()
            assert await stream.said() == ["create open/file", "create closed-too"]
        with pytest.raises(RpcError) as error:
            async with over(daemon).stream(root / "closed"):
                pass
        assert error.value.code == "permission_denied"


# Going on.


async def test_a_stream_that_broke_is_resumed_without_a_gap(wire: Wire, root: Path):
    watching = Watching(wire)
    cursor, seen = "", []
    for turn in range(4):
        async with watching.stream(root, recursive=True, cursor=cursor) as stream:
            (root / f"{turn}-during").touch()
            if turn % 2:
                await stream.next()  # only some of what there is
                seen.append(said(stream.messages[-1].filesystem))
            else:
                seen += await settled(stream)
                stream.cursor = stream.cursor
            cursor = stream.cursor
            stream.incoming.leave()
        (root / f"{turn}-between").mkdir()
        (root / f"{turn}-between" / "file").touch()
    async with watching.stream(root, recursive=True, cursor=cursor) as stream:
        seen += await settled(stream)
        assert not stream.overflows
    created = [event for event in seen if event.startswith("create") and "marker" not in event]
    expected = {f"create {path.relative_to(root)}" for path in root.rglob("*")}
    assert set(created) == expected
    assert len(created) == len(expected)


async def test_an_unknown_cursor_begins_anew_and_says_so(wire: Wire, root: Path):
    watching = Watching(wire)
    async with watching.stream(root, cursor="w00000000000000000000.7") as stream:
        assert (await stream.next()).overflow.reset
        (root / "file").touch()
        assert await stream.said() == ["create file"]
    for wrong in ("nonsense", "w0.x", "w0."):
        with pytest.raises(RpcError) as error:
            async with watching.stream(root, cursor=wrong):
                pass
        assert error.value.code == "invalid_argument"
    with pytest.raises(RpcError) as error:
        async with watching.stream(root.parent, cursor=stream.cursor):
            pass
    assert error.value.code == "invalid_argument"
    assert "other options" in error.value.message


async def test_who_resumes_a_stream_takes_it_over(wire: Wire, root: Path):
    watching = Watching(wire)
    async with watching.stream(root, cursor="") as old:
        (root / "a").touch()
        await old.next()
        async with watching.stream(root, cursor=old.cursor) as new:
            assert (await old.to_the_end())[1].code == "aborted"
            (root / "b").touch()
            assert await new.said() == ["create b"]


async def test_watchers_survive_the_server(own: Daemon, root: Path):
    (root / "kept").write_text("x")
    (root / "sub").mkdir()
    watcher = await over(own).create(root, recursive=True, include_entry=True)
    plain = await over(own).create(root)
    known = Known(root)
    (root / "before").write_text("content")
    collected = await polled_until(plain, "create before")
    (root / "last-before").touch()
    await polled_until(plain, "create last-before")
    own.kill_server()
    (root / "sub" / "meanwhile").write_text("content")
    (root / "kept").unlink()
    response = await watcher.poll()
    events = [said(event) for event in response.events]
    assert response.overflowed
    assert events[0] == "create before"
    assert "create last-before" in events
    assert "create sub/meanwhile" in events or "create sub/meanwhile" in await settled(watcher)
    known.apply(events)
    (root / "sub" / "after").touch()
    more = await watcher.events()
    assert [said(event) for event in more][-1] == "create sub/after"
    assert more[-1].entry.path == f"{root}/sub/after"
    known.apply([said(event) for event in more])
    assert known.names == on_disk(root)
    assert collected
    await watcher.remove()
    own.kill_server()
    with pytest.raises(RpcError):
        await watcher.poll()
    assert (await plain.poll()).overflowed


async def polled_until(watcher: Watcher, word: str) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        while word not in found:
            found += [said(event) for event in (await watcher.poll("")).events]
    return found


@pytest.mark.slow
async def test_no_event_that_was_there_is_lost_when_the_server_is_killed_at_any_instant(own: Daemon, root: Path):
    watcher = await over(own).create(root, recursive=True)
    known = Known(root)
    stop = threading.Event()

    def load() -> int:
        made = 0
        while not stop.is_set():
            directory = root / f"d{made}" / "below"
            directory.mkdir(parents=True)
            (directory / "file").write_text("x")
            if made % 3 == 0:
                shutil.rmtree(root / f"d{made}")
            made += 1
        return made

    loading = asyncio.get_running_loop().run_in_executor(None, load)
    cursor = ""
    try:
        for _ in range(5):
            own.kill_server()
            for _ in range(3):
                response = await watcher.poll(cursor)
                known.apply([said(event) for event in response.events])
                cursor = response.events[-1].cursor if response.events else cursor
    finally:
        stop.set()
        made = await loading
    assert made > 10
    # Differences come in any order, so that one of them is there says nothing about the others.
    expected = on_disk(root)
    with suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            while known.names != expected:
                response = await watcher.poll(cursor)
                known.apply([said(event) for event in response.events])
                cursor = response.events[-1].cursor if response.events else cursor
    assert known.names == expected


async def test_a_stream_is_resumed_across_the_death_of_the_server(own: Daemon, root: Path):
    async with over(own).stream(root, cursor="") as stream:
        (root / "a").touch()
        (root / "b").touch()
        await stream.next()
        own.kill_server()
    (root / "c").touch()
    async with over(own).stream(root, cursor=stream.cursor) as resumed:
        assert await resumed.said() == ["create b", "create c"] or "c" in {
            message.filesystem.name for message in resumed.messages
        }
        assert [overflow.reset for overflow in resumed.overflows] == [False]


async def test_watchers_have_a_bound_and_an_end(root: Path):
    async with configured_daemon(Config(watching=Sizes(kept_watches=2, kept_s=0.6))) as daemon:
        watching = over(daemon)
        watchers = [await watching.create(root) for _ in range(2)]
        with pytest.raises(RpcError) as error:
            await watching.create(root)
        assert error.value.code == "resource_exhausted"
        assert "RemoveWatcher" in error.value.message
        with pytest.raises(RpcError):
            async with watching.stream(root, cursor=""):
                pass
        await watchers[0].remove()
        async with watching.stream(root, cursor="") as stream:
            pass
        async with watching.stream(root, cursor=""):  # the stream that was left makes way
            pass
        async with watching.stream(root, cursor=stream.cursor) as late:
            assert (await late.next()).overflow.reset
        await until_watches(daemon.server_pid(), 0)
        with pytest.raises(RpcError) as error:
            await watchers[1].poll()
        assert error.value.code == "not_found"


# Leaks.


async def test_no_watch_of_the_kernel_is_left(own: Daemon, root: Path, tmp_path: Path):
    server = own.server_pid()
    for name in ("a/b/c", "d"):
        (root / name).mkdir(parents=True)
    async with over(own).stream(root, recursive=True) as stream:
        before = inotify_watches(server)
        assert before == 5
        for _ in range(3):
            shutil.rmtree(root / "a")
            (root / "a" / "b" / "c").mkdir(parents=True)
            await stream.events()
        (root / "d").rename(root / "e")
        (root / "e").rename(root / "d")
        await stream.events()
        await until_watches(server, before)
        (root / "a").rename(tmp_path / "outside")
        await stream.events()
        await until_watches(server, before - 3)
        async with over(own).stream(root / "d"), over(own).stream(root, recursive=True):
            await until_watches(server, before - 3)
        await until_watches(server, before - 3)
        stream.incoming.leave()
    await until_watches(server, 0)
    watcher = await over(own).create(root, recursive=True)
    assert inotify_watches(server) == 2
    await watcher.remove()
    await until_watches(server, 0)
    assert (
        sum("anon_inode:inotify" in os.readlink(f"/proc/{server}/fd/{fd}") for fd in os.listdir(f"/proc/{server}/fd"))
        == 1
    )


# Uploads.


async def test_an_upload_of_a_new_file_is_created_changed_and_written(daemon: Daemon, root: Path):
    async with over(daemon).stream(root) as stream:
        answer(await put(daemon.port, root / "raw", b"content"))
        assert [said(event) for event in await stream.events()] == ["create raw", "chmod raw", "write raw"]
        answer(await put(daemon.port, root / "raw", b"other content"))
        assert [said(event) for event in await stream.events()] == ["write raw"]
        answer(await put(daemon.port, root / "large", b"x" * 5_000_000))
        assert [said(event) for event in await stream.events()] == ["create large", "chmod large", "write large"]
        answer(await put(daemon.port, root / "empty", b""))
        assert [said(event) for event in await stream.events()] == ["create empty", "chmod empty"]
        answer(await compose(daemon.port, {"source_paths": [str(root / "raw")], "destination": str(root / "whole")}))
        assert [said(event) for event in await stream.events()] == [
            "create whole",
            "chmod whole",
            "write whole",
            "remove raw",
        ]


async def test_a_write_and_a_copy_are_told_like_uploads(wire: Wire, root: Path):
    files = Files(wire)
    async with Watching(wire).stream(root, recursive=True) as stream:
        await files.write(root / "new", b"content")
        assert [said(event) for event in await stream.events()] == ["create new", "chmod new", "write new"]
        await files.write(root / "new", b"other")
        assert [said(event) for event in await stream.events()] == ["write new"]
        await files.copy(root / "new", root / "copy")
        assert [said(event) for event in await stream.events()] == ["create copy", "chmod copy", "write copy"]
        await files.write(root / "below" / "new", b"content")
        events = [said(event) for event in await stream.events()]
        assert [event for event in events if "below/new" in event][0] == "create below/new"
        assert "write below/new" in events
        await files.copy(root / "below", root / "tree", recursive=True)
        assert [said(event) for event in await stream.events()] == ["create tree", "create tree/new", "write tree/new"]


async def test_temporaries_are_never_told(daemon: Daemon, root: Path):
    async with over(daemon).stream(root, recursive=True) as stream:
        (root / "linked").write_text("x")
        os.link(root / "linked", root / "other")  # is written in place
        for number in range(50):
            answer(await put(daemon.port, root / "file", b"%d" % number))
            answer(await put(daemon.port, root / "linked", b"%d" % number))
        names = {event.name for event in await stream.events()}
        assert names == {"file", "linked", "other"}
