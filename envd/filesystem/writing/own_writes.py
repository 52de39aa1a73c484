"""Files that the daemon itself puts in their places, so that their reports are told as what they are: uploads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

PLACED = 1 << 40
"""Bit of a report's mask, ours: an upload has put the file there."""
FILLED = 1 << 41
"""Bit of a report's mask, ours: and it is not empty."""

Key = tuple[int, int]
"""Device and inode of a directory."""


def number_of(key: Key) -> int:
    """Return one number for a directory: a hundred thousand of them take a third of the memory of pairs."""
    return key[0] << 64 | key[1]


_PENDING = 4096
# Renames in several directories at once are reported mixed, never by more than threads there are to make them.
_RENAMES = 64
_Place = tuple[int, str]


class OwnWrites:
    """Remembers files from the moment before they get their names until the kernel reports that.

    Several may get one name, one after the other: each has a mark of its own. Of all together at most 4096: when full
    the oldest is forgotten, whose upload is then told as a CREATE alone. Safe in threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, int] = {}
        # By places, the oldest first: whether the files that are to come have content.
        self._pending: dict[_Place, deque[bool]] = {}
        self._count = 0
        self._renames: deque[int] = deque(maxlen=_RENAMES)

    @property
    def pending(self) -> int:
        """How many are to come."""
        return self._count + len(self._renames)

    def watched(self, number: int) -> None:
        """Note that a directory is watched."""
        with self._lock:
            self._watched[number] = self._watched.get(number, 0) + 1

    def unwatched(self, number: int) -> None:
        """Note that a directory is not watched any more."""
        with self._lock:
            self._watched[number] -= 1
            if not self._watched[number]:
                del self._watched[number]
                for place in [place for place in self._pending if place[0] == number]:
                    self._count -= len(self._pending.pop(place))
                if not self._watched:
                    self._watched.clear()  # else it keeps the memory of its largest size

    @contextmanager
    def placing(self, key: Key, name: str, *, filled: bool) -> Iterator[None]:
        """Put a file in a directory within the block. What fails puts none there."""
        place = (number_of(key), name)
        self._mark(place, filled=filled)
        try:
            yield
        except BaseException:
            self._unmark(place, filled=filled)
            raise
        if place[0] not in self._watched:  # only now: a watch that began meanwhile has the report
            self._unmark(place, filled=filled)

    def unhidden(self, cookie: int) -> None:
        """Note that something with a hidden name gets another; the two reports of it have the same cookie.

        The newest 64 are remembered.
        """
        self._renames.append(cookie)

    def take(self, number: int, name: str, cookie: int) -> bool | None:
        """Return whether what appeared has content; None if it is none of ours.

        Of several files that take one place at once nobody knows which comes first: one of them may have content. So
        may what only is known to have had a hidden name.
        """
        filled = self._take((number, name))
        if cookie and cookie in self._renames:
            self._renames.remove(cookie)
            return True if filled is None else filled
        return filled

    def clear(self) -> None:
        """Forget all: reports were lost."""
        with self._lock:
            self._pending.clear()
            self._renames.clear()
            self._count = 0

    def _mark(self, place: _Place, *, filled: bool) -> None:
        with self._lock:
            self._pending.setdefault(place, deque()).append(filled)
            self._count += 1
            if self._count > _PENDING:
                oldest, marks = next(iter(self._pending.items()))
                self._drop(oldest, marks, marks[0])

    def _take(self, place: _Place) -> bool | None:
        with self._lock:
            marks = self._pending.get(place)
            if marks is None:
                return None
            filled = any(marks)
            self._drop(place, marks, marks[0])
            return filled

    def _unmark(self, place: _Place, *, filled: bool) -> None:
        with self._lock:
            marks = self._pending.get(place)
            if marks is not None and filled in marks:
                self._drop(place, marks, filled)

    def _drop(self, place: _Place, marks: deque[bool], mark: bool) -> None:  # noqa: FBT001 - what a mark is
        marks.remove(mark)
        self._count -= 1
        if not marks:
            del self._pending[place]
