"""Metadata of names in an open directory: read by a working directory of the thread's own, or through /proc."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envd.filesystem.access import naming_in
from envd.filesystem.access.system_calls import unshare_working_directory
from envd.filesystem.entries import describe_all
from envd.filesystem.listing import Listing, walk

# A program that may not have a working directory of its own, as under Docker's seccomp filter, and lists a directory.
_FILTERED = """
import ctypes, struct, sys
code = b"".join(struct.pack("HBBI", *one) for one in (
    (0x20, 0, 0, 0),               # the number of the call
    (0x15, 0, 1, int(sys.argv[2])),
    (0x06, 0, 0, 0x00050000 | 1),  # EPERM
    (0x06, 0, 0, 0x7FFF0000),
))
buffer = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit(77)
from envd.filesystem.access.system_calls import unshare_working_directory
from envd.filesystem.listing import Listing, walk
assert not unshare_working_directory()
for entry in walk(Listing(sys.argv[1], depth=9)):
    print(entry.name, dict(entry.metadata))
"""
_UNSHARE = {"x86_64": 272, "aarch64": 97}


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A directory with metadata on some of what is below it."""
    top = tmp_path / "top"
    (top / "below").mkdir(parents=True)
    for name in ("a", "below/b", "plain"):
        (top / name).touch()
    try:
        for name in ("a", "below", "below/b"):
            os.setxattr(top / name, "user.e2b.of", name.encode())
    except OSError:
        pytest.skip("no extended attributes of users here")
    return top


def metadata(path: Path) -> dict[str, dict[str, str]]:
    entries = walk(Listing(str(path), depth=9))
    return {os.path.relpath(entry.path, path): dict(entry.metadata) for entry in entries}


EXPECTED = {"a": {"of": "a"}, "below": {"of": "below"}, "below/b": {"of": "below/b"}, "plain": {}}


def in_a_thread(work: object) -> object:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()  # type: ignore[arg-type]


def test_each_entry_has_its_own_metadata(described: Path) -> None:
    assert in_a_thread(lambda: metadata(described)) == EXPECTED


def test_without_a_working_directory_of_its_own_a_thread_finds_the_same(described: Path) -> None:
    number = _UNSHARE.get(platform.machine())
    if number is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("the number of unshare is not known here")
    command = [sys.executable, "-c", _FILTERED, str(described), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.returncode == 77:
        pytest.skip("no seccomp filter can be set here")
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["a {'of': 'a'}", "below {'of': 'below'}", "b {'of': 'below/b'}", "plain {}"]


def test_a_thread_that_names_in_a_directory_moves_no_other_one(described: Path) -> None:
    before = os.getcwd()
    seen, inside, done = [], threading.Event(), threading.Event()

    def work() -> None:
        fd = os.open(described, os.O_RDONLY)
        try:
            with naming_in(fd) as prefix:
                seen.append((prefix, os.path.exists(f"{prefix}a")))
                inside.set()
                done.wait(30)
            seen.append(os.readlink("/proc/thread-self/cwd"))
        finally:
            os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(30)
    assert os.getcwd() == before
    done.set()
    thread.join()
    if seen[0][0]:
        pytest.skip("a thread may have no working directory of its own here")
    assert seen == [("", True), "/"]


def test_a_thread_started_by_one_that_names_in_a_directory_has_its_own(described: Path) -> None:
    """Who is born of such a thread shares its working directory, and so must not go by it."""
    below = os.open(described / "below", os.O_RDONLY)
    top = os.open(described, os.O_RDONLY)

    def born() -> list[dict[str, str]]:
        st = os.stat(described / "a")
        return [dict(one.metadata) for one in describe_all(top, [("a", "a", st)])]

    def work() -> tuple[object, bool]:
        if not unshare_working_directory():
            pytest.skip("a thread may have no working directory of its own here")
        with naming_in(below) as prefix:
            found = in_a_thread(born)
            return found, os.path.exists(f"{prefix}b")

    try:
        assert in_a_thread(work) == ([{"of": "a"}], True)
    finally:
        os.close(below)
        os.close(top)


def test_a_directory_that_may_be_read_but_not_searched_is_named_through_proc(described: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may search everything")
    described.chmod(0o600)
    fd = os.open(described, os.O_RDONLY)
    try:
        with naming_in(fd) as prefix:
            assert prefix == f"/proc/self/fd/{fd}/"
    finally:
        os.close(fd)
        described.chmod(0o700)
