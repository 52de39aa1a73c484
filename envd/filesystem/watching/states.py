"""What is remembered of an entry, to see that it has changed."""

from __future__ import annotations

import os
import stat

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
