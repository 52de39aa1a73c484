"""Journals: memory files whose position is the stream's length."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from envd.process.journal import Journal, punch

PAGE = 4096


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal.create("test")
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Read end, not blocking, and write end."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    open_ends = {ours, theirs}
    yield ours, theirs
    for fd in open_ends:
        with suppress(OSError):  # the test has closed it
            os.close(fd)


def held_bytes(journal: Journal) -> int:
    return os.fstat(journal.fd).st_blocks * 512


def filled(journal: Journal, size: int) -> bytes:
    data = os.urandom(size)
    journal.append(data)
    return data


def test_a_new_one_is_empty(journal: Journal):
    assert (journal.head, journal.end, journal.kept) == (0, 0, 0)
    assert journal.read(0, 100) == b""


def test_what_a_pipe_held_can_be_read_at_its_offsets(journal: Journal, pipe):
    ours, theirs = pipe
    os.write(theirs, b"hello ")
    assert journal.splice_from(ours, 1000) == 6
    os.write(theirs, b"world")
    assert journal.splice_from(ours, 1000) == 5
    assert journal.end == 11
    assert journal.read(0, 100) == b"hello world"
    assert journal.read(4, 3) == b"o w"
    assert journal.read(11, 5) == b""


def test_no_more_than_the_limit_is_moved(journal: Journal, pipe):
    ours, theirs = pipe
    os.write(theirs, b"0123456789")
    assert journal.splice_from(ours, 4) == 4
    assert journal.read(0, 100) == b"0123"
    assert os.read(ours, 100) == b"456789"


def test_an_empty_pipe_raises_and_an_ended_one_gives_nothing(journal: Journal, pipe):
    ours, theirs = pipe
    with pytest.raises(BlockingIOError):
        journal.splice_from(ours, 100)
    os.close(theirs)
    assert journal.splice_from(ours, 100) == 0
    assert journal.end == 0


def test_bytes_of_our_own_follow_those_of_the_pipe(journal: Journal, pipe):
    ours, theirs = pipe
    os.write(theirs, b"one")
    journal.splice_from(ours, 100)
    journal.append(b"two")
    os.write(theirs, b"three")
    journal.splice_from(ours, 100)
    assert journal.read(0, 100) == b"onetwothree"


def test_the_position_is_shared_so_that_a_successor_goes_on_there(journal: Journal, pipe):
    """As the keeper's duplicate: whatever one has moved, the other knows."""
    ours, theirs = pipe
    os.write(theirs, b"before")
    journal.splice_from(ours, 100)
    successor = Journal(os.dup(journal.fd))
    try:
        assert (successor.head, successor.end) == (0, 6)
        os.write(theirs, b" after")
        assert successor.splice_from(ours, 100) == 6
        assert successor.read(0, 100) == b"before after"
        assert os.lseek(journal.fd, 0, os.SEEK_CUR) == 12
    finally:
        successor.close()


def test_trimming_frees_memory_in_whole_pages_and_leaves_the_rest(journal: Journal):
    data = filled(journal, 10 * PAGE)
    assert journal.trim(5 * PAGE + 100) == 5 * PAGE
    assert (journal.head, journal.end, journal.kept) == (5 * PAGE, 10 * PAGE, 5 * PAGE)
    assert held_bytes(journal) == 5 * PAGE
    assert journal.read(5 * PAGE, 10 * PAGE) == data[5 * PAGE :]
    assert os.fstat(journal.fd).st_size == 10 * PAGE


@pytest.mark.parametrize("to", [0, 1, PAGE - 1, 2 * PAGE, 2 * PAGE + 1])
def test_trimming_to_what_is_gone_already_does_nothing(journal: Journal, to):
    filled(journal, 4 * PAGE)
    journal.trim(2 * PAGE)
    assert journal.trim(to) == 0
    assert (journal.head, held_bytes(journal)) == (2 * PAGE, 2 * PAGE)


def test_a_last_page_that_is_not_full_is_kept(journal: Journal):
    data = filled(journal, PAGE + 10)
    journal.trim(PAGE + 10)
    assert journal.head == PAGE
    assert journal.read(PAGE, 100) == data[PAGE:]


@pytest.mark.parametrize("size", [3 * PAGE, 3 * PAGE + 7])
@pytest.mark.parametrize("to", [0, PAGE, 2 * PAGE, 3 * PAGE])
def test_a_successor_finds_where_the_kept_bytes_begin(journal: Journal, size, to):
    data = filled(journal, size)
    journal.trim(to)
    successor = Journal(os.dup(journal.fd))
    try:
        assert (successor.head, successor.end) == (journal.head, journal.end)
        assert os.lseek(journal.fd, 0, os.SEEK_CUR) == size, "looking for it has moved the position"
        assert successor.read(successor.head, size) == data[successor.head :]
    finally:
        successor.close()


def test_zeros_are_bytes_as_any_other(journal: Journal, pipe):
    """A page of zeros is not a hole."""
    ours, theirs = pipe
    for _ in range(3):
        os.write(theirs, bytes(PAGE))
        journal.splice_from(ours, PAGE)
    assert held_bytes(journal) == 3 * PAGE
    successor = Journal(os.dup(journal.fd))
    try:
        assert successor.head == 0
    finally:
        successor.close()


def test_much_goes_through_little_memory(journal: Journal, pipe):
    ours, theirs = pipe
    block = os.urandom(64 * 1024)
    for number in range(512):
        os.write(theirs, block)
        assert journal.splice_from(ours, len(block)) == len(block)
        journal.trim(journal.end - 2 * len(block))
        assert held_bytes(journal) <= 2 * len(block) + PAGE, number
    assert journal.end == 512 * len(block)
    assert journal.read(journal.head, 1 << 20) == block * 2


def test_closing_twice_is_no_error_and_leaves_no_descriptor():
    before = set(os.listdir("/proc/self/fd"))
    journal = Journal.create("test")
    journal.close()
    journal.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_hole_that_cannot_be_made_is_an_error():
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError, match="Permission denied"):
            punch(reader, 0, 4096)
    finally:
        os.close(reader)
        os.close(writer)


# Where a memory file can have no holes, as in gVisor.


def without_holes(*_: int) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_without_holes_the_head_is_dropped_once_it_is_the_greater_part(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("envd.process.journal.punch", without_holes)
    data = filled(journal, 100 * PAGE)
    assert journal.trim(40 * PAGE) == 0
    assert journal.trim(90 * PAGE) == 90 * PAGE
    assert (journal.head, journal.end) == (90 * PAGE, 100 * PAGE)
    assert journal.read(90 * PAGE, 1 << 20) == data[90 * PAGE :]
    assert held_bytes(journal) <= 10 * PAGE
    journal.append(b"more")
    assert journal.read(100 * PAGE, 10) == b"more"


def test_without_holes_a_successor_finds_where_they_end(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("envd.process.journal.punch", without_holes)
    data = filled(journal, 100 * PAGE)
    journal.trim(90 * PAGE)
    seek = os.lseek

    def lseek(fd: int, offset: int, whence: int) -> int:
        if whence == os.SEEK_DATA:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return seek(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", lseek)
    found = Journal(os.dup(journal.fd))
    assert (found.head, found.end) == (90 * PAGE, 100 * PAGE)
    assert found.read(90 * PAGE, 1 << 20) == data[90 * PAGE :]
    found.close()
