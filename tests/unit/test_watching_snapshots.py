"""Pictures of trees: directories by numbers, entries as bytes."""

from __future__ import annotations

import gc
import os
import random
import tracemalloc

import pytest

from envd.filesystem.watching import snapshot
from envd.filesystem.watching.entry_budget import EntryBudget, SnapshotBudget
from envd.filesystem.watching.events import DIRECTORY, FILLED, EventKind
from envd.filesystem.watching.snapshot import Directory, Snapshot

MANY = 20_000
STATE = FILLED | 0x1234_5678 << 64 | 0x9ABC << 32 | 0xDEF0


def picture_of(*paths: str) -> Directory:
    picture = Snapshot()
    root = Directory(picture, picture.add(DIRECTORY))
    for path in paths:
        place = root
        for name in path.split("/"):
            place = place.below(name) or place.add_below(name, DIRECTORY)
    return root


def at(root: Directory, path: str) -> Directory:
    place: Directory | None = root
    for name in path.split("/"):
        assert place is not None
        place = place.below(name)
    assert place is not None
    return place


def many() -> Snapshot:
    picture = Snapshot()
    root = picture.add(DIRECTORY)
    above = root
    for number in range(MANY):
        if number % 100 == 0:
            above = picture.add(DIRECTORY, root, f"package-{number}")
        else:
            picture.add(DIRECTORY | number << 64, above, f"module-{number % 100}")
    return picture


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"file": STATE},
        {"file": 0, "two\nlines": DIRECTORY, "é": FILLED, os.fsdecode(b"\xff\xfe"): STATE},
        {str(number): number << 40 for number in range(snapshot.MOST)},
    ],
)
def test_entries_that_were_packed_are_the_same(entries: snapshot.Entries):
    packed = snapshot.pack(entries)
    assert snapshot.count(packed) == len(entries)
    assert list(snapshot.unpack(packed).items()) == list(entries.items())


def test_a_directory_is_known_by_its_path_in_whatever_order_one_asks():
    paths = [f"{one}/{two}/{three}" for one in "abc" for two in ("a", "longer") for three in ("x", "yy", "zzz")]
    root = picture_of(*paths)
    known = [(directory, directory.prefix) for directory in root.tree()]
    assert {prefix for _, prefix in known} >= {"", "a/", "b/longer/", "c/longer/zzz/"}
    source = random.Random(7)
    for _ in range(2000):
        directory, prefix = source.choice(known)
        assert directory.prefix == prefix
    for path in paths:
        assert at(root, path).prefix == path + "/"


def test_a_directory_that_left_is_gone_with_all_below_also_when_its_number_is_used_again():
    root = picture_of("a/b/c", "d")
    inner, other = at(root, "a/b/c"), at(root, "d")
    inner.put("file", STATE)
    inner.pack()
    left = root.part("a")
    assert left is not None
    assert left.leave() == (3, 1)
    assert left.gone
    assert inner.gone
    assert not other.gone
    for number in root.picture.tree(left.number):
        root.picture.free(number)
    again = [root.add_below(name, DIRECTORY) for name in ("e", "f", "g")]
    assert inner.number in {directory.number for directory in again}
    assert inner.gone
    assert inner not in again
    assert [directory.prefix for directory in again] == ["e/", "f/", "g/"]
    assert not any(directory.gone or directory.names_below or directory.entries for directory in again)


def test_numbers_are_used_again_so_that_churn_takes_no_memory():
    root = picture_of("kept")
    for turn in range(1000):
        made = root.add_below(f"directory-{turn}", DIRECTORY)
        made.add_below("below", DIRECTORY)
        root.part(made.prefix[:-1])
        made.leave()
        for number in root.picture.tree(made.number):
            root.picture.free(number)
    assert len(root.picture.watches) <= 4


def test_directories_are_nothing_that_garbage_collections_visit():
    gc.collect()
    before = len(gc.get_objects())
    picture = many()
    gc.collect()
    # At most those that have something below: Python 3.14 visits every dict.
    assert len(gc.get_objects()) - before < MANY / 50
    assert len(picture.tree(0)) == MANY + 1


def test_a_directory_takes_little_memory():
    tracemalloc.start()
    try:
        picture = many()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(picture.tree(0)) == MANY + 1
    assert taken / MANY < 250


def test_entries_of_directories_take_little_memory():
    tracemalloc.start()
    try:
        root = picture_of(*(f"directory{number}" for number in range(1000)))
        before, _ = tracemalloc.get_traced_memory()
        for directory in root.tree():
            for number in range(20):
                directory.put(f"source_file_{number}.py", STATE + number)
            directory.pack()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken / 20_000 < 50


def test_giving_up_a_picture_gives_back_the_room_of_its_entries_and_keeps_its_directories():
    room = EntryBudget(10)
    account = SnapshotBudget(lambda *_: None, room, recursive=True)
    place = account.create_directory(account.root, "directory")
    for number in range(20):
        account.create(place, str(number), STATE)
    assert not account.whole
    assert (room.left, account.held, account.directories) == (8, 2, 2)
    assert place.entries == {}
    assert account.root.names_below == ["directory"]


def test_removing_a_tree_is_told_from_below():
    told: list[tuple[EventKind, str]] = []
    account = SnapshotBudget(lambda kind, name, _: told.append((kind, name)), EntryBudget(100), recursive=True)
    for path in ("", "a/"):
        account.create_directory(account.root if not path else at(account.root, "a"), "a" if not path else "b")
    account.create(at(account.root, "a/b"), "file", STATE)
    told.clear()
    empty = picture_of()
    steps = account.merge(account.root, empty, breathe=_breathe)
    with pytest.raises(StopIteration):
        steps.__await__().__next__()  # it has nothing to wait for
    assert told == [(EventKind.REMOVE, "a/b/file"), (EventKind.REMOVE, "a/b"), (EventKind.REMOVE, "a")]
    assert (account.held, account.directories) == (1, 1)


async def _breathe() -> None:
    return
