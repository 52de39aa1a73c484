"""What watches are kept in: logs that end anywhere, queues that are full, states that differ."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from envd.filesystem.watching.events import FILLED, UNKNOWN, EventKind, changed_attributes, state_of, wrote
from envd.filesystem.watching.history import Backlog, History
from envd.filesystem.watching.slots import WatchSlot, WatchSlots
from envd.filesystem.writing.own_writes import OwnWrites, number_of

RECORDS = [b"first", b"second" * 1000, b"x"]
HEAD_BYTES = 4096


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("watches")
    yield fd
    os.close(fd)


def rewrite(slot: WatchSlot, records: list[bytes]) -> None:
    slot.prepare(records)
    slot.switch([])
    slot.tidy()


def kept(memfd: int) -> list[list[bytes]]:
    """What a later process finds."""
    return [list(slot.read()) for slot in WatchSlots(memfd, 4).taken()]


def test_a_log_is_found_by_the_next_process(memfd: int):
    slots = WatchSlots(memfd, 4)
    one, other = slots.take(), slots.take()
    rewrite(one, RECORDS)
    rewrite(other, [b"other"])
    one.append(b"more")
    assert kept(memfd) == [[*RECORDS, b"more"], [b"other"]]
    rewrite(one, [b"anew"])
    other.free()
    assert kept(memfd) == [[b"anew"]]
    assert slots.take() is other


def test_the_old_log_counts_and_grows_until_the_new_one_does(memfd: int):
    slot = WatchSlots(memfd, 4).take()
    rewrite(slot, RECORDS)
    slot.append(b"before")
    slot.prepare([b"anew"])
    slot.append(b"meanwhile")
    assert kept(memfd) == [[*RECORDS, b"before", b"meanwhile"]]
    slot.switch([b"meanwhile"])
    assert kept(memfd) == [[b"anew", b"meanwhile"]]
    slot.append(b"after")
    slot.tidy()
    assert kept(memfd) == [[b"anew", b"meanwhile", b"after"]]


@pytest.mark.parametrize("missing", [1, 3, 4, 5, 11])
def test_a_record_that_was_cut_short_is_as_if_it_had_not_been_begun(memfd: int, missing: int):
    slot = WatchSlots(memfd, 4).take()
    rewrite(slot, RECORDS)
    end = HEAD_BYTES + slot.size
    slot.append(b"last")
    os.ftruncate(memfd, end + 12 - missing)
    assert kept(memfd) == [RECORDS]
    later = WatchSlots(memfd, 4).taken()[0]
    assert list(later.read()) == RECORDS
    later.append(b"again")
    assert kept(memfd) == [[*RECORDS, b"again"]]


def test_a_record_with_other_bytes_is_none(memfd: int):
    slot = WatchSlots(memfd, 4).take()
    rewrite(slot, RECORDS)
    slot.append(b"last")
    os.pwrite(memfd, b"L", HEAD_BYTES + slot.size - 4)
    assert kept(memfd) == [RECORDS]


def test_all_slots_can_be_taken_but_no_more(memfd: int):
    slots = WatchSlots(memfd, 2)
    assert slots.take() is not slots.take()
    assert slots.take() is None


def test_numbers_go_on_whatever_was_dropped():
    history = History(Backlog(1000), limit=3, kept=2)
    for name in "abc":
        history.add(EventKind.CREATE, name, UNKNOWN)
    assert history.full
    assert [event[0] for event in history.take(2)] == [1, 2]
    assert not history.full
    history.add(EventKind.WRITE, "c", UNKNOWN)
    assert history.add(EventKind.WRITE, "c", UNKNOWN) is None
    assert [event[0] for event in history.take(9)] == [3, 4]
    assert history.add(EventKind.WRITE, "c", UNKNOWN) is not None
    assert (history.first, history.last) == (3, 5)
    assert history.rewind(2)
    assert [event[0] for event in history.take(9)] == [3, 4, 5]
    assert not history.rewind(1)
    assert not history.rewind(6)


def test_all_histories_together_have_a_bound_but_each_has_a_few():
    backlog = Backlog(100)
    histories = [History(backlog, limit=1000, kept=0) for _ in range(2)]
    for history in histories:
        while not history.full:
            history.add(EventKind.CREATE, "x", UNKNOWN)
    assert [history.last for history in histories] == [256, 256]
    for history in histories:
        history.drop(history.last)
    assert backlog.left == 100


def test_states_say_what_has_changed(tmp_path: Path):
    path = tmp_path / "file"
    path.touch()
    empty = state_of(os.stat(path))
    path.chmod(0o600)
    restricted = state_of(os.stat(path))
    assert (wrote(empty, restricted), changed_attributes(empty, restricted)) == (False, True)
    path.write_text("content")
    filled = state_of(os.stat(path))
    assert (wrote(restricted, filled), changed_attributes(restricted, filled)) == (True, False)
    assert filled & FILLED
    assert (wrote(UNKNOWN, filled), changed_attributes(UNKNOWN, filled)) == (True, False)
    before = state_of(os.stat(tmp_path))
    (tmp_path / "another").touch()
    after = state_of(os.stat(tmp_path))
    assert not changed_attributes(before, after)


HERE = (1, 2)
NUMBER = number_of(HERE)


def test_placements_are_remembered_where_somebody_watches_and_as_long():
    placements = OwnWrites()
    with placements.placing(HERE, "nobody", filled=True):
        pass
    assert not placements.pending
    with placements.placing(HERE, "watched by now", filled=True):
        placements.watched(NUMBER)
    assert placements.take(NUMBER, "watched by now", 0) is True
    for number in range(5000):
        with placements.placing(HERE, str(number), filled=False):
            pass
    assert placements.pending == 4096
    assert placements.take(NUMBER, "0", 0) is None
    assert placements.take(NUMBER, "4999", 0) is False
    assert placements.take(NUMBER, "4999", 0) is None
    placements.unwatched(NUMBER)
    assert not placements.pending


def test_each_of_several_placements_at_once_is_remembered():
    placements = OwnWrites()
    placements.watched(NUMBER)
    with placements.placing(HERE, "file", filled=False):
        pass
    with pytest.raises(FileExistsError), placements.placing(HERE, "file", filled=True):
        raise FileExistsError
    with placements.placing(HERE, "file", filled=True):
        pass
    assert [placements.take(NUMBER, "file", 0) for _ in range(3)] == [True, True, None]
    assert not placements.pending


def test_the_halves_of_renames_are_found_together_in_whatever_order_they_come():
    placements = OwnWrites()
    for cookie in (7, 8):
        placements.unhidden(cookie)
    assert [placements.take(NUMBER, "file", cookie) for cookie in (7, 9, 8, 8)] == [True, None, True, None]
    assert not placements.pending
