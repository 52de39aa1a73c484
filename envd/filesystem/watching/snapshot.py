"""A tree as a client knows it that has applied every event: its directories, and what is in them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator

from .events import DIRECTORY

Entries = dict[str, int]
"""States by name."""

MOST = 4096
"""How many are packed: unpacking takes a quarter of a microsecond for each, on the loop."""

NOTHING = b""
"""No entries."""

_COUNT_BYTES = 2
_STATE_BYTES = 13


def pack(entries: Entries) -> bytes:
    """Return at most MOST entries as bytes: how many, their states, their names."""
    if not entries:
        return NOTHING
    states = b"".join([state.to_bytes(_STATE_BYTES, "little") for state in entries.values()])
    return len(entries).to_bytes(_COUNT_BYTES, "little") + states + os.fsencode("\0".join(entries))


def unpack(packed: bytes) -> Entries:
    """Return the entries."""
    if not packed:
        return {}
    end = _COUNT_BYTES + count(packed) * _STATE_BYTES
    names = os.fsdecode(packed[end:]).split("\0")
    starts = range(_COUNT_BYTES, end, _STATE_BYTES)
    return {
        name: int.from_bytes(packed[start : start + _STATE_BYTES], "little")
        for name, start in zip(names, starts, strict=True)
    }


def count(packed: bytes) -> int:
    """Return how many there are."""
    return packed[0] | packed[1] << 8 if packed else 0


NONE = -1
"""No directory, or no watch."""
_STATE_SHIFT = 32
_STATE_BITS = (1 << 64) - 1


class Snapshot:
    """The directories of a tree. Each is a number, so a hundred thousand are nothing that garbage collections visit.

    Numbers of directories that were freed are used again.

    Attributes:
        watches: by which changes in a directory are reported; negative if they are not.
        ages: odd for what has left the picture or was freed. Another one for each use of a number.
    """

    __slots__ = ("_above", "_below", "_entries", "_free", "_last", "_names", "_states", "ages", "watches")

    def __init__(self) -> None:
        self.watches = array("i")
        self.ages = array("I")
        self._above = array("i")
        self._states = array("Q")  # the lowest bits say nothing of directories, the highest the same of all
        self._names: list[str] = []
        self._entries: list[Entries | bytes] = []
        self._below: list[dict[str, int]] = []
        self._free = array("i")
        self._last = (NONE, "")

    def add(self, state: int, above: int = NONE, name: str = "") -> int:
        """Have one more directory; without one above it is a root, whose path is empty."""
        number = self._free.pop() if self._free else self._grown()
        self.ages[number] += 1
        self._above[number], self._names[number] = above, name
        self.set_state(number, state)
        if above != NONE:
            below = self._below[above]
            if below is _NOTHING_BELOW:
                below = self._below[above] = {}
            below[name] = number
        return number

    def _grown(self) -> int:
        self.watches.append(NONE)
        self.ages.append(1)
        self._above.append(NONE)
        self._states.append(0)
        self._names.append("")
        self._entries.append(NOTHING)
        self._below.append(_NOTHING_BELOW)
        return len(self._names) - 1

    def part(self, number: int, name: str) -> int | None:
        """Take a directory out of the one above; return its number, None if there is none. It has no other use yet."""
        return self._below[number].pop(name, None)

    def lose(self, number: int) -> tuple[int, int]:
        """Mark a directory and all below as gone; return the number of these directories and of entries in them."""
        numbers, ages = self.all_below(number), self.ages
        for each in numbers:
            ages[each] |= 1
        return len(numbers), sum(_count(entries) for entries in map(self._entries.__getitem__, numbers) if entries)

    def free(self, number: int) -> None:
        """Free the number of a directory, and nothing below it."""
        self.ages[number] |= 1
        self.watches[number] = self._above[number] = NONE
        self._names[number] = ""
        self._entries[number] = NOTHING
        self._below[number] = _NOTHING_BELOW
        self._free.append(number)
        self._last = (NONE, "")

    def tree(self, number: int) -> array[int]:
        """Return a directory and all below, each before what is in it."""
        numbers = array("i")
        all_below = self._below
        waiting = [number]
        while waiting:
            number = waiting.pop()
            numbers.append(number)
            if below := all_below[number]:
                waiting.extend(below.values())
        return numbers

    def all_below(self, number: int) -> list[int]:
        """Return a directory and all below, level by level: the whole is done at once, so it is done fast."""
        found: list[int] = []
        all_below = self._below
        level = [number]
        while level:
            found += level
            level = [each for below in map(all_below.__getitem__, level) if below for each in below.values()]
        return found

    def below(self, number: int) -> dict[str, int]:
        """Return the directories in one, by their names, if the picture goes that deep; not to be changed."""
        return self._below[number]

    def state(self, number: int) -> int:
        """Return the state of a directory."""
        return DIRECTORY | self._states[number] << _STATE_SHIFT

    def set_state(self, number: int, state: int) -> None:
        """Have another state of a directory."""
        self._states[number] = state >> _STATE_SHIFT & _STATE_BITS

    def prefix(self, number: int) -> str:
        """Return the path of a directory from its root on, with a slash behind; empty for that."""
        above, names = self._above, self._names
        last, known = self._last
        if number == last:
            return known
        if last != NONE and above[last] in (number, above[number]):
            known = known[: -len(names[last]) - 1]
            last = above[last]
        if number != last:
            known = self._joined(number, last, known)
        self._last = (number, known)
        return known

    def _joined(self, number: int, known: int, prefix: str) -> str:
        """Return the path of a directory, by one whose path is known if that is on the way."""
        above, way = self._above, []
        while number != known and above[number] != NONE:
            way.append(self._names[number])
            number = above[number]
        return (prefix if number == known else "") + "".join(f"{name}/" for name in reversed(way))

    # Entries that are not entered.

    def entries(self, number: int) -> Entries:
        """Return what is in a directory, not to be changed."""
        entries = self._entries[number]
        return unpack(entries) if isinstance(entries, bytes) else entries

    def open_entries(self, number: int) -> Entries:
        """Return what is in a directory, to be changed."""
        entries = self._entries[number]
        if isinstance(entries, bytes):
            entries = self._entries[number] = unpack(entries)
        return entries

    def put(self, number: int, name: str, state: int) -> None:
        """Have an entry in a directory that is not entered."""
        self.open_entries(number)[name] = state

    def pack(self, number: int) -> None:
        """Have what is in a directory take less memory."""
        entries = self._entries[number]
        if not isinstance(entries, bytes) and len(entries) <= MOST:
            self._entries[number] = pack(entries)

    def packed(self, number: int) -> bytes | None:
        """Return what is in a directory, alike for the same; None if it is not packed."""
        entries = self._entries[number]
        return entries if isinstance(entries, bytes) else None

    def forget(self) -> None:
        """Have no entries anywhere, as far as they are not below."""
        self._entries = [NOTHING] * len(self._entries)


class Directory:
    """One directory of a snapshot. Two of these are the same if they are of the same.

    Attributes:
        picture: which.
        number: in there.
    """

    __slots__ = ("_age", "number", "picture")

    def __init__(self, picture: Snapshot, number: int) -> None:
        self.picture = picture
        self.number = number
        self._age = picture.ages[number]

    @property
    def gone(self) -> bool:
        """It is not in the picture any more."""
        return bool(self._age & 1) or self.picture.ages[self.number] != self._age

    @property
    def prefix(self) -> str:
        """Its path from the root on, with a slash behind; empty for the root.

        It never changes: what is renamed is another directory from then on.
        """
        return self.picture.prefix(self.number)

    @property
    def state(self) -> int:
        """As state_of."""
        return self.picture.state(self.number)

    @state.setter
    def state(self, state: int) -> None:
        self.picture.set_state(self.number, state)

    @property
    def watch(self) -> int | None:
        """By which changes in it are reported; None if they are not."""
        watch = self.picture.watches[self.number]
        return None if watch < 0 else watch

    @watch.setter
    def watch(self, watch: int | None) -> None:
        self.picture.watches[self.number] = NONE if watch is None else watch

    @property
    def entries(self) -> Entries:
        """States by name of what is in it, without directories below; not to be changed."""
        return self.picture.entries(self.number)

    @property
    def names_below(self) -> list[str]:
        """The names of the directories in it."""
        return list(self.picture.below(self.number))

    def below(self, name: str) -> Directory | None:
        """Return a directory in it, None if there is none."""
        number = self.picture.below(self.number).get(name)
        return None if number is None else Directory(self.picture, number)

    def has_below(self, name: str) -> bool:
        """Return whether a directory is in it."""
        return name in self.picture.below(self.number)

    def add_below(self, name: str, state: int) -> Directory:
        """Have one more directory in it."""
        return Directory(self.picture, self.picture.add(state, self.number, name))

    def part(self, name: str) -> Directory | None:
        """Take a directory out of it; return that, None if there is none."""
        number = self.picture.part(self.number, name)
        return None if number is None else Directory(self.picture, number)

    def entry(self, name: str) -> int | None:
        """Return the state of what is in it, None if that is nothing, or a directory."""
        return self.picture.open_entries(self.number).get(name)

    def put(self, name: str, state: int) -> None:
        """Have an entry that is not entered."""
        self.picture.put(self.number, name, state)

    def drop(self, name: str) -> None:
        """Do not have an entry any more."""
        del self.picture.open_entries(self.number)[name]

    def pack(self) -> None:
        """Have what is in it take less memory."""
        self.picture.pack(self.number)

    def holds_same(self, other: Directory) -> bool:
        """Return whether it is certain that the same entries, with the same states, are in another."""
        mine = self.picture.packed(self.number)
        return mine is not None and mine == other.picture.packed(other.number)

    def leave(self) -> tuple[int, int]:
        """Leave the picture, with all below; return how many directories that were, and entries in them."""
        left = self.picture.lose(self.number)
        self._age |= 1
        return left

    def tree(self, *, upwards: bool = False) -> Iterator[Directory]:
        """Yield it and all directories below, each before what is in it, or with `upwards` behind that."""
        numbers = self.picture.tree(self.number)
        for number in reversed(numbers) if upwards else numbers:
            yield Directory(self.picture, number)

    def __contains__(self, name: str) -> bool:
        picture, number = self.picture, self.number
        return name in picture.open_entries(number) or name in picture.below(number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Directory) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[int, int, int]:
        return id(self.picture), self.number, self._age


def _count(entries: Entries | bytes) -> int:
    return len(entries) if isinstance(entries, dict) else count(entries)


# Most directories have nothing below: 64 bytes each for a hundred thousand.
_NOTHING_BELOW: dict[str, int] = {}
