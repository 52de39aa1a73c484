"""Stat on the event loop: the same answer as from a thread, and only where nothing can hold the loop up."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from envd.filesystem.access import open_cached, root_is_local
from envd.filesystem.at_hand import AtHand
from envd.filesystem.entries import Entry, cached_entry, entry_of
from envd.filesystem.steps import StepLimits
from envd.filesystem.thread_pool import ThreadPool
from envd.filesystem.threads import Threads
from envd.host.mounts import Mounts
from envd.host.names import NameCache
from envd.host.users import User, own_user
from envd.services.filesystem.messages import EntryFormat


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory on the mount of the root, where a look needs no thread."""
    if not root_is_local():
        pytest.skip("the root is no local file system, or the kernel has no RESOLVE_CACHED")
    for above in ("/var/tmp", "/var", "/"):
        if os.access(above, os.W_OK) and Mounts().device(above) == Mounts().device("/"):
            with TemporaryDirectory(dir=above) as directory:
                yield Path(directory)
            return
    pytest.skip("no directory on the mount of the root can be written")


def no_threads(_: Callable[[], object]) -> bool:
    raise AssertionError("a thread was started")


def entry_format() -> EntryFormat:
    return EntryFormat(NameCache(), brief=False, in_json=False)


def make_kinds(top: Path) -> list[str]:
    (top / "file").write_bytes(b"content")
    (top / "directory").mkdir()
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"not \xff utf-8")).touch()
    (top / "linked").symlink_to("directory")
    # The first that follows a link writes its access time, for which the kernel leaves its cache: this one is past it.
    made = os.lstat(top / "linked").st_mtime_ns
    os.utime(top / "linked", ns=(made + 60_000_000_000, made), follow_symlinks=False)
    (top / "directory/below").touch()
    try:
        os.setxattr(top / "file", "user.e2b.kind", b"a file")
    except OSError:
        pytest.skip("no extended attributes of users here")
    return ["file", "directory", "fifo", os.fsdecode(b"not \xff utf-8"), "linked/below", "directory/../file", ""]


def look(at_hand: AtHand, path: str) -> Entry | None:
    """Look once more where there was nothing: the kernel gives such a look up while anybody mounts or renames."""
    found = (at_hand.look(path, own_user()) for _ in range(1000))
    return next((one for one in found if one is not None), None)


def test_the_answer_is_that_of_a_thread_and_no_thread_is_needed(top: Path) -> None:
    # By its clock no look is slow, however busy the machine is.
    at_hand = AtHand(Threads(ThreadPool(StepLimits(), Mounts(), no_threads)), lambda: 0.0)
    for name in make_kinds(top):
        path = f"{top}/{name}"
        found = look(at_hand, path)
        assert found is not None, name
        assert found.metadata == entry_of(path).metadata
        assert entry_format().message_at_hand(found) == entry_format().message(entry_of(path)), name


def test_what_takes_a_thread_is_left_to_it(top: Path) -> None:
    make_kinds(top)
    at_hand = AtHand(Threads(ThreadPool(StepLimits(), Mounts(), no_threads)))
    fd = os.open(top / "file", os.O_RDONLY)
    (top / "magic").symlink_to(f"/proc/{os.getpid()}/fd/{fd}")
    (top / "elsewhere").symlink_to("/proc")
    try:
        for path in (
            top / "linked",  # leads elsewhere
            top / "missing",
            top / "file/below",
            top / "magic",
            top / "elsewhere/self/status",
            f"/proc/self/fd/{fd}",
            "/proc/self/environ",
            f"{top}/{'d' * 200}",
            f"{top}/{'./' * 3000}file",
            f"{top}/\0",
        ):
            assert at_hand.look(str(path), own_user()) is None, path
    finally:
        os.close(fd)


def test_what_is_on_another_mount_is_left_to_a_thread(top: Path) -> None:
    others = [where for where in ("/dev/shm", "/run", "/sys") if Mounts().device(where) != Mounts().device("/")]
    if not others:
        pytest.skip("nothing is mounted here")
    for where in others:
        assert open_cached(where) is None
        (top / where.strip("/").replace("/", "-")).symlink_to(where)
        assert cached_entry(f"{top}/{where.strip('/').replace('/', '-')}/.") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_look_as_another_user_is_left_to_a_thread(top: Path) -> None:
    (top / "file").touch()
    at_hand = AtHand(Threads(ThreadPool(StepLimits(), Mounts(), no_threads)))
    assert at_hand.look(f"{top}/file", own_user()) is not None
    assert at_hand.look(f"{top}/file", User("nobody", 65534, 65534, (65534,), "/")) is None


def test_after_a_slow_look_there_is_none_for_a_minute(top: Path) -> None:
    (top / "file").touch()
    times = itertools.chain([100.0, 100.06, 101.0, 159.9, 160.1, 160.1, 161.0, 161.0])
    at_hand = AtHand(Threads(ThreadPool(StepLimits(), Mounts(), no_threads)), times.__next__)
    looks = [at_hand.look(f"{top}/file", own_user()) is not None for _ in range(5)]
    assert looks == [True, False, False, True, True]


async def test_while_a_file_system_does_not_answer_looks_are_left_to_threads(top: Path) -> None:
    (top / "file").touch()
    threads, go_on = Threads(ThreadPool(StepLimits(), Mounts())), threading.Event()
    at_hand = AtHand(threads)
    held_up = asyncio.create_task(threads.at(str(top)).run(go_on.wait, 30))
    async with asyncio.timeout(30):
        while threads.get_on:
            await asyncio.sleep(0.05)  # the monitor looks four times a second, and tells nobody
        assert at_hand.look(f"{top}/file", own_user()) is None
        go_on.set()
        await held_up
    assert threads.get_on
    assert at_hand.look(f"{top}/file", own_user()) is not None
