"""Fair turns for coroutines that have much to do on the loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque

_TURN_S = 0.001
_MOST = 8


class FairScheduler:
    """Lets some of its callers go on in each turn of the loop, in the order they asked, so that others need not wait.

    A caller that goes on does at most about a millisecond's work, and asks again. A turn is for one of them; for up to
    eight, as long as the turns before took less than a millisecond. As many wait as there are calls.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began = 0.0
        self._most = 1
        self._left = 0
        self._running = False

    async def mine(self) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        if not self._running:
            self._running = True
            self._began = time.perf_counter()
            self._left = self._most
            loop.call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        now = time.perf_counter()
        self._most = 1 if now - self._began > _TURN_S else min(self._most + 1, _MOST)
        self._began, self._left = now, self._most
        if not self._waiting:
            self._running = False
            return
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # else its caller is gone
                turn.set_result(None)
                self._left -= 1
        asyncio.get_running_loop().call_soon(self._next)
