"""Where uploads are written down: a file in memory that the next server process inherits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.host.record import Record

_PAGE = 4096
_HEAD_BYTES = 128 * 1024  # paths, key, metadata and their like, each byte escaped in six
_EXTENT_BYTES = 16
_UNREADABLE = b"\xff"  # a value that is none


@dataclass(frozen=True, slots=True)
class UploadSlot:
    """One upload's place."""

    number: int
    record: Record


class UploadSlots:
    """A fixed number of places of a fixed size. What is empty takes no memory.

    Each is replaced as a whole: who reads one after a death at any instant finds the old value or the new one.

    Args:
        fd: of the file; stays the caller's.
        count: how many uploads there may be; a RESOURCE_EXHAUSTED for the next one.
        extents: of one upload at most.
    """

    def __init__(self, fd: int, count: int, extents: int) -> None:
        value = -(-(_HEAD_BYTES + extents * _EXTENT_BYTES) // _PAGE) * _PAGE
        span = Record.span(value)
        self._used = -(-os.fstat(fd).st_size // span)  # behind them nothing was ever written
        self._all = [UploadSlot(number, Record(fd, number * span, value)) for number in range(count)]
        self._free: list[int] = []

    def load(self) -> Iterator[tuple[UploadSlot, bytes]]:
        """Yield what an earlier process left. To be used once, before all else."""
        for slot in reversed(self._all):
            try:
                value = slot.record.read() if slot.number < self._used else b""
            except ValueError:
                value = _UNREADABLE
            if value:
                yield slot, value
            else:
                self._free.append(slot.number)

    def take(self) -> UploadSlot:
        """Return an empty place.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there is none.
        """
        if not self._free:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"there are {len(self._all)} uploads already: commit or abort one of them"
            )
        return self._all[self._free.pop()]

    def give_back(self, slot: UploadSlot) -> None:
        """Empty a place."""
        slot.record.write(b"")
        self._free.append(slot.number)
