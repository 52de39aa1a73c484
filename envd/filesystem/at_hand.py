"""Looking at an entry on the event loop, where the kernel need not wait: a thread costs more than the look.

See docs/decisions/0017-the-kernel-checks-users.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from envd.host.users import User

from .access import acts_as_itself, root_is_local
from .entries import Entry, cached_entry
from .threads import Threads

_SLOW_S = 0.05
_AWAY_S = 60.0


class AtHand:
    """Looks at entries on the event loop, as long as that is quick. Never as another user than the daemon's own.

    What the kernel has of a path in memory does not take it to a disk, but what it reads of metadata may, once they
    have left the memory: after a look that took 50 ms there is none for a minute, nor while any file system does not
    answer.

    Args:
        threads: where file work is done otherwise.
        clock: seconds that go by.
    """

    def __init__(self, threads: Threads, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._clock = clock
        self._not_before = 0.0 if root_is_local() else float("inf")

    def look(self, path: str, user: User) -> Entry | None:
        """Look at an entry for a user; None if it takes a thread to tell, or to say that there is none."""
        began = self._clock()
        if began < self._not_before or not acts_as_itself(user) or not self._threads.get_on:
            return None
        entry = cached_entry(path)
        if self._clock() - began >= _SLOW_S:
            self._not_before = began + _AWAY_S
        return entry
