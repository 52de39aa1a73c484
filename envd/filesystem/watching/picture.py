"""What a client that has applied every event knows of a tree: names, and what is needed to see that one has changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

# A state is one number, to keep hundreds of thousands of them: from the top, flags, then 32 bits each of what changes
# with the content, with mode or owner, and with anything.
DIRECTORY = 1 << 96
FILLED = 1 << 97
UNKNOWN = 0
"""The state of a file of which only is known that it has changed since anybody looked."""

_BITS = 0xFFFF_FFFF


def state_of(st: os.stat_result) -> int:
    """Return the state of an entry."""
    attributes = hash((st.st_mode, st.st_uid, st.st_gid)) & _BITS
    if stat.S_ISDIR(st.st_mode):
        # Size and times of a directory change with what is in it, which has events of its own.
        return DIRECTORY | (hash(st.st_ino) & _BITS) << 64 | attributes << 32
    content = hash((st.st_ino, st.st_size, st.st_mtime_ns)) & _BITS
    filled = FILLED if st.st_size and stat.S_ISREG(st.st_mode) else 0
    return filled | content << 64 | attributes << 32 | hash(st.st_ctime_ns) & _BITS


def same_kind(old: int, new: int) -> bool:
    """Return whether both are directories or neither."""
    return not (old ^ new) & DIRECTORY


def wrote(old: int, new: int) -> bool:
    """Return whether the content of a file may have changed between two states."""
    return not old & ~FILLED or (old >> 64 ^ new >> 64) & _BITS != 0


def changed_attributes(old: int, new: int) -> bool:
    """Return whether mode, owner or anything but the content may have changed between two states."""
    if not old & ~(FILLED | DIRECTORY):
        return bool(old & DIRECTORY)
    if wrote(old, new) and not new & DIRECTORY:
        return (old >> 32 ^ new >> 32) & _BITS != 0
    return (old ^ new) & (_BITS << 32 | _BITS) != 0


class Directory:
    """One directory of the picture.

    Attributes:
        prefix: its path from the root on, with a slash behind; empty for the root. It never changes: a directory that
            is renamed gets a new one of these.
        gone: it is not in the picture any more.
        state: as state_of.
        entries: states by name of what is in it, without `below`. More come by `put`.
        below: the directories in it, if the picture goes that deep. More come by `put_below`.
        watch: by which changes in it are reported; None if they are not.
    """

    __slots__ = ("below", "entries", "gone", "prefix", "state", "watch")

    def __init__(self, prefix: str, state: int) -> None:
        self.prefix = prefix
        self.state = state
        self.entries = _NO_ENTRIES
        self.below = _NONE_BELOW
        self.watch: int | None = None
        self.gone = False

    def put(self, name: str, state: int) -> None:
        """Have an entry that is not entered."""
        if self.entries is _NO_ENTRIES:
            self.entries = {}
        self.entries[name] = state

    def forget(self) -> None:
        """Have no entries, as far as they are not below."""
        self.entries = _NO_ENTRIES

    def put_below(self, name: str, directory: Directory) -> None:
        """Have a directory."""
        if self.below is _NONE_BELOW:
            self.below = {}
        self.below[name] = directory

    def tree(self) -> Iterator[Directory]:
        """Yield it and all directories below, each before what is in it."""
        waiting = [self]
        while waiting:
            directory = waiting.pop()
            yield directory
            waiting.extend(directory.below.values())

    def __contains__(self, name: str) -> bool:
        return name in self.entries or name in self.below


# Most directories have nothing below, and without a picture none has entries: 64 bytes each for a hundred thousand.
_NO_ENTRIES: dict[str, int] = {}
_NONE_BELOW: dict[str, Directory] = {}
