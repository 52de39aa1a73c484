"""The memory budget of all journals together."""

from __future__ import annotations

import time
from collections.abc import Callable

from envd.config import Output

_PAUSE_S = 0.1
_UNREAD_SHARE = 16  # of all memory, that is kept behind each reader once half of it is in use


class JournalBudget:
    """Counts the bytes all journals keep and asks for some back when they are too many.

    Bounded: above `total_bytes` finished processes go first, oldest first, then live journals are trimmed, and a
    process whose sole reader lags waits sooner.
    """

    def __init__(self, config: Output) -> None:
        self.config = config
        self.kept = 0
        self._not_before = 0.0
        self.reclaim: Callable[[int], None] = _nothing_to_reclaim

    @property
    def short(self) -> bool:
        """True while all journals together keep more than they may."""
        return self.kept > self.config.total_bytes

    @property
    def keep_live(self) -> int:
        """Bytes a live stream may keep now."""
        return self.config.trimmed_bytes if self.short else self.config.live_bytes

    @property
    def unread_bytes(self) -> int | None:
        """Bytes that may be kept of those that a reader's kernel has and its application may not have; None for all.

        Kept on suspicion, it must not be what makes finished processes go.
        """
        return self.config.total_bytes // _UNREAD_SHARE if self.kept > self.config.total_bytes // 2 else None

    def count(self, change: int) -> None:
        """Note that journals keep more (or, negative, fewer) bytes."""
        self.kept += change
        if change > 0 and self.short and time.monotonic() >= self._not_before:
            before = self.kept
            self.reclaim(self.kept - self.config.total_bytes * 7 // 8)
            if self.kept == before:
                # All of it is held for readers. Asking at every byte would cost more than it could give.
                self._not_before = time.monotonic() + _PAUSE_S


def _nothing_to_reclaim(_: int) -> None:
    """Stand in until the table, which knows what is finished, is there."""
