"""What a watch tells: changes, each with its place in the watch."""

from __future__ import annotations

import enum

ROOT = "."


class EventKind(enum.IntEnum):
    """What happened; numbers as in the contract, 0 is our own."""

    OVERFLOW = 0
    CREATE = 1
    WRITE = 2
    REMOVE = 3
    RENAME = 4
    CHMOD = 5


Event = tuple[int, int, str, int]
"""One change: its number among those of its watch, without gaps, from 1; a Kind, as a number; its name, relative to the
watched directory, `.` for that one, where bytes that are no UTF-8 are surrogates; the state of the entry from now on,
see states.py. The state of an overflow is 1 if what the client knows is worthless.

There are hundreds of thousands of them. What is a tuple of numbers and texts, and nothing more, no garbage collection
looks at twice.
"""
