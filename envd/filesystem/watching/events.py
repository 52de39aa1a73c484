"""Events of a watch, the states of entries by which changes are found, and the interface that receives events."""

from __future__ import annotations

import enum
import os
import stat
from typing import Protocol

from envd.errors import EnvdError

ROOT = "."


# A state is one number, to keep hundreds of thousands of them: from the top, flags, then 32 bits each of what changes
# with the content, with mode or owner, and with anything.
DIRECTORY = 1 << 96
FILLED = 1 << 97
UNKNOWN = 0
"""The state of a file of which only is known that it has changed since anybody looked."""

_BITS = 0xFFFF_FFFF


class EventKind(enum.IntEnum):
    """What happened; numbers as in the contract, 0 is our own."""

    OVERFLOW = 0
    CREATE = 1
    WRITE = 2
    REMOVE = 3
    RENAME = 4
    CHMOD = 5


Event = tuple[int, int, str, int]
"""One change: its number among those of its watch, without gaps, from 1; an EventKind, as a number; its name, relative
to the watched directory, `.` for that one, where bytes that are no UTF-8 are surrogates; the state of the entry from
now on, see state_of. The state of an overflow is 1 if what the client knows is worthless.

There are hundreds of thousands of them. What is a tuple of numbers and texts, and nothing more, no garbage collection
looks at twice.
"""


class WatchSubscribers(Protocol):
    """Receives the events of one watched tree."""

    @property
    def full(self) -> bool:
        """It can take no more for now."""

    def tell(self, kind: EventKind, name: str, state: int, /) -> None:
        """Receive a change."""

    def told(self) -> None:
        """Act on what was received: there is no more for now."""

    def lost(self, *, worthless: bool) -> None:
        """Receive an overflow: changes were lost. Later events make up for them, unless earlier ones are worthless."""

    def ended(self, error: EnvdError) -> None:
        """Receive the end: there will never be more."""


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
