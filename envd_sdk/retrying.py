"""Decides whether, and when, to try again. No clock and no network in here."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from envd_sdk._wire.failure import WireError

# Seconds. A server that was killed is back within 0.3 s; what its readers lack is kept for 5 s after a broken
# connection and 10 s after a kill.
DEFAULT_PATIENCE_S = 10.0
FIRST_DELAY_S = 0.02
LONGEST_DELAY_S = 0.5


class Repeat(Enum):
    """The failed attempts after which a call may be repeated."""

    # The same again changes nothing: reads, writes of whole files, anything with an idempotency key.
    SAFE = "safe"
    # Twice would not be the same as once: only what was never sent is sent again.
    UNSENT = "unsent"


@dataclass
class Attempts:
    """The attempts at one call.

    Attributes:
        repeat: what may be done again.
        patience_s: for how long, since the last success, it is tried again; 0 means never.
        clock: seconds, monotonic.
    """

    repeat: Repeat
    patience_s: float
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self._began: float | None = None
        self._failures = 0

    @property
    def repeated(self) -> bool:
        """An earlier attempt failed since the last success, and may have been carried out all the same."""
        return self._failures > 0

    def succeeded(self) -> None:
        """Something came through: patience begins anew."""
        self._began = None
        self._failures = 0

    def delay_after(self, error: WireError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            WireError: the error itself, if there is to be none.
        """
        repeatable = error.lost if self.repeat is Repeat.SAFE else error.never_sent
        now = self.clock()
        if self._began is None:
            self._began = now
        if not repeatable or now - self._began >= self.patience_s:
            raise error
        self._failures += 1
        longest: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(self._failures, 10))
        # Half of it at random, so that many callers do not come back at the same moment.
        return longest / 2 + random.random() * longest / 2
