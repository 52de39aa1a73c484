"""What a watch tells: changes, each with its place in the watch."""

from __future__ import annotations

import enum
from typing import NamedTuple

ROOT = "."


class Kind(enum.IntEnum):
    """What happened; numbers as in the contract, 0 is our own."""

    OVERFLOW = 0
    CREATE = 1
    WRITE = 2
    REMOVE = 3
    RENAME = 4
    CHMOD = 5


class Event(NamedTuple):
    """One change. A tuple because there are ten thousands of them.

    Attributes:
        number: its place among the events of its watch, without gaps, from 1.
        kind: a Kind, as a number.
        name: relative to the watched directory, `.` for that one; bytes that are no UTF-8 are surrogates.
        state: of the entry from now on, see picture.py. Of an overflow: 1 if what the client knows is worthless.
    """

    number: int
    kind: int
    name: str
    state: int
