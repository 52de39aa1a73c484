"""Counts of an archive's entries, and names of those that were left out."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

_MOST_NAMED = 1000
_MOST_NAMED_BYTES = 256 * 1024  # all of them travel in one message
_MOST_LINKED = 100_000


class LeftOutReason(enum.IntEnum):
    """The reason why an entry was left out; numbers as in the contract."""

    KIND = 1
    VANISHED = 2
    UNREADABLE = 3


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that is not in the archive; `errno` with UNREADABLE."""

    name: str
    reason: LeftOutReason
    errno: int = 0


@dataclass(slots=True)
class ArchiveSummary:
    """Counts while an archive is made.

    Attributes:
        entries: in the archive.
        content_bytes: of files, without holes.
        left_out: the first 1000 or 256 KiB of names; later ones are only counted.
        left_out_count: all of them.
    """

    entries: int = 0
    content_bytes: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    left_out_count: int = 0
    _named_bytes: int = 0
    _linked: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)

    def leave_out(self, name: str, reason: LeftOutReason, number: int | None = None) -> None:
        """Note an entry that is not in the archive."""
        self.left_out_count += 1
        self._named_bytes += len(name)
        if len(self.left_out) < _MOST_NAMED and self._named_bytes <= _MOST_NAMED_BYTES:
            self.left_out.append(LeftOut(name, reason, number or 0))

    def first_name(self, st: os.stat_result, name: str) -> str | None:
        """Return under which name the archive has this file already; None if it has not.

        At most 100 000 files that have further names are remembered, those beyond are stored once for each name.
        """
        if st.st_nlink == 1:
            return None
        key = (st.st_dev, st.st_ino)
        first, remaining = self._linked.pop(key, (None, st.st_nlink))
        if remaining > 1 and len(self._linked) < _MOST_LINKED:
            self._linked[key] = (name if first is None else first, remaining - 1)
        return first
