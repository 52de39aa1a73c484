"""Summaries of a search, and files it skipped."""

from __future__ import annotations

import enum
from typing import NamedTuple

REPORTED = 1000
"""Of what was not searched, so many are named in one call."""


class SkipReason(enum.IntEnum):
    """The reason why a file or directory was not searched; numbers as in the contract."""

    UNREADABLE = 1
    BINARY = 2
    TOO_LARGE = 3
    TOO_SLOW = 4
    CHANGED = 5


class Skip(NamedTuple):
    """A file or directory that was not searched; `errno` only with UNREADABLE."""

    path: str
    reason: SkipReason
    errno: int = 0


class FindSummary(NamedTuple):
    """The summary of a Find; fields in the order of the contract's message."""

    entries: int
    examined: int
    skipped: int
    truncated: bool


class GrepSummary(NamedTuple):
    """The summary of a Grep; fields in the order of the contract's message."""

    files_searched: int
    files_matched: int
    files_skipped: int
    matches: int
    bytes_searched: int
    truncated: bool
