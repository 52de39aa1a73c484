"""Which bytes of a file are there."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

_WORD = "Q"


class Segment(NamedTuple):
    """A run of bytes that are all there, or all missing."""

    begin: int
    end: int
    there: bool


class Extents:
    """A set of offsets from 0 to 2^63-1 as ascending runs that do not touch each other."""

    def __init__(self) -> None:
        self._begins = array(_WORD)
        self._ends = array(_WORD)
        self.total = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> Extents:
        """Read back what to_bytes wrote."""
        extents = cls()
        extents._begins.frombytes(data[: len(data) // 2])
        extents._ends.frombytes(data[len(data) // 2 :])
        extents.total = sum(extents._ends) - sum(extents._begins)
        return extents

    def to_bytes(self) -> bytes:
        """Serialise for this machine, 16 bytes a run."""
        return self._begins.tobytes() + self._ends.tobytes()

    def __len__(self) -> int:
        return len(self._begins)

    @property
    def end(self) -> int:
        """The first offset behind all that is there."""
        return self._ends[-1] if self._ends else 0

    @property
    def contiguous(self) -> int:
        """How many bytes are there from the beginning on without a hole."""
        return self._ends[0] if self._begins and self._begins[0] == 0 else 0

    def having(self, begin: int, end: int) -> Extents:
        """Return the same with a run added."""
        extents = Extents()
        extents._begins, extents._ends, extents.total = self._begins[:], self._ends[:], self.total
        extents.add(begin, end)
        return extents

    def add(self, begin: int, end: int) -> None:
        """Add a run; nothing if it is empty."""
        if begin >= end:
            return
        first, last = self._touching(begin, end)
        if first < last:
            begin, end = min(begin, self._begins[first]), max(end, self._ends[last - 1])
        self.total += end - begin - (sum(self._ends[first:last]) - sum(self._begins[first:last]))
        self._begins[first:last] = array(_WORD, [begin])
        self._ends[first:last] = array(_WORD, [end])

    def segments(self, begin: int, end: int) -> Iterator[Segment]:
        """Cut a range into runs that are there and runs that are missing, in order."""
        at = bisect_right(self._ends, begin)
        while begin < end:
            if at == len(self) or self._begins[at] >= end:
                yield Segment(begin, end, there=False)
                return
            if begin < self._begins[at]:
                yield Segment(begin, self._begins[at], there=False)
            begin, until = max(begin, self._begins[at]), min(end, self._ends[at])
            yield Segment(begin, until, there=True)
            begin, at = until, at + 1

    def overlaps(self, begin: int, end: int) -> bool:
        """Tell whether any byte of a range is there."""
        return any(segment.there for segment in self.segments(begin, end))

    def behind(self, offset: int, limit: int) -> list[tuple[int, int]]:
        """Return at most `limit` runs (begin, end), whole, that end behind an offset."""
        at = bisect_right(self._ends, offset)
        return list(zip(self._begins[at : at + limit], self._ends[at : at + limit], strict=True))

    def _touching(self, begin: int, end: int) -> tuple[int, int]:
        """Return the slice of runs that overlap or touch a range."""
        return bisect_left(self._ends, begin), bisect_right(self._begins, end)
