"""Changes that a Replace will make, as a worker sends them piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .summaries import Skip, SkipReason

EDITS, FILE, SKIP, TOTALS = "edits", "file", "skip", "totals"

Value = tuple[Any, ...]
"""EDITS with a list of them, for the FILE that follows; FILE with the other fields of a Plan; SKIP with those of a
Skip; TOTALS with files searched and skipped."""

Edit = tuple[int, int, bytes]
"""An edit of a file: offset and number of the replaced bytes, and their replacement."""


@dataclass(frozen=True, slots=True)
class ReplacePlan:
    """The changes to make in one file.

    Attributes:
        etag: of the content this is about.
        edits: in ascending order, apart from each other; without those that change nothing.
        diff: empty if none was asked for, or there is no room for it.
        diff_truncated: it ends early.
    """

    path: str
    etag: str
    matches: int
    diff: bytes
    diff_truncated: bool
    edits: Sequence[Edit] = ()


@dataclass(slots=True)
class ReplacePlans:
    """The changes to make in all files.

    Attributes:
        searched, skipped: how many; of what was skipped only the first are in `skips`.
    """

    files: list[ReplacePlan] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    searched: int = 0
    skipped: int = 0
    _edits: list[Edit] = field(default_factory=list)

    def add(self, value: Value) -> None:
        """Take the next piece."""
        kind, fields = value[0], value[1:]
        if kind == EDITS:
            self._edits += fields[0]
        elif kind == FILE:
            edits, self._edits = self._edits, []
            path, etag, matches, diff, truncated = fields
            self.files.append(ReplacePlan(path, etag, matches, diff, truncated, edits))
        elif kind == SKIP:
            path, reason, errno = fields
            self.skips.append(Skip(path, SkipReason(reason), errno))
        else:
            self.searched, self.skipped = fields

    @property
    def matches(self) -> int:
        """How many there are in all files."""
        return sum(plan.matches for plan in self.files)
