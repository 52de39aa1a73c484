"""Files that the daemon itself puts in their places, so that their reports are told as what they are: uploads."""

from __future__ import annotations

import threading
from collections import Counter

PLACED = 1 << 40
"""Bit of a report's mask, ours: an upload has put the file there."""
FILLED = 1 << 41
"""Bit of a report's mask, ours: and it is not empty."""

Key = tuple[int, int]
"""Device and inode of a directory."""

_PENDING = 4096


class Placements:
    """Remembers files from the moment before they get their names until the kernel reports that.

    Only those in directories that are watched, and at most 4096: when full the oldest is forgotten, whose upload is
    then told as a CREATE alone. Safe in threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: Counter[Key] = Counter()
        self.pending: dict[tuple[Key, str], bool] = {}

    def watched(self, key: Key) -> None:
        """Note that a directory is watched."""
        with self._lock:
            self._watched[key] += 1

    def unwatched(self, key: Key) -> None:
        """Note that a directory is not watched any more."""
        with self._lock:
            self._watched[key] -= 1
            if not self._watched[key]:
                del self._watched[key]
                for placed in [placed for placed in self.pending if placed[0] == key]:
                    del self.pending[placed]

    def announce(self, key: Key, name: str, *, filled: bool) -> None:
        """Note that a file is about to be put in a directory."""
        if key not in self._watched:
            return
        with self._lock:
            self.pending[key, name] = filled
            if len(self.pending) > _PENDING:
                del self.pending[next(iter(self.pending))]

    def retract(self, key: Key, name: str) -> None:
        """Note that it was not."""
        with self._lock:
            self.pending.pop((key, name), None)

    def take(self, key: Key, name: str) -> bool | None:
        """Return whether the file that appeared has content; None if it is none of ours."""
        with self._lock:
            return self.pending.pop((key, name), None)

    def clear(self) -> None:
        """Forget all: reports were lost."""
        with self._lock:
            self.pending.clear()
