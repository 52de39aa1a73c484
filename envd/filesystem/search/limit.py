"""Limits the searches that run at once, fairly between devices."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from envd.errors import Code, EnvdError


class SearchLimit:
    """Turns of at most so many at once. Who comes when all are taken waits; devices take turns, each in its order.

    A turn that does not get on is lent to the next who waits: as many again on one device, and twice as many in all.

    Args:
        at_once: turns.
        waiting: how many may wait.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._at_once = at_once
        self._most_waiting = waiting
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._full_since: dict[str, float] = {}
        self._lent: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._queues.values()))

    async def take(self, device: str) -> None:
        """Wait for a turn to search on a device.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if too many wait.
        """
        if self._free > 0 and self._may(device):
            self._free -= 1
            return
        if len(self) >= self._most_waiting:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"search: {self._most_waiting} searches are waiting already; try again later"
            )
        waiter = asyncio.get_running_loop().create_future()
        self._queues.setdefault(device, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._queues.get(device, ()):
                self._queues[device].remove(waiter)
            elif not waiter.cancelled():
                self.give_back()  # we had got it already
            raise

    def give_back(self) -> None:
        """Let the next one have a turn."""
        self._free += 1
        self._pass_on()

    def lend(self, device: str) -> bool:
        """Let another one have the turn of somebody who does not get on; False if that is not possible."""
        if not self._may(device) or self._lent.total() >= 2 * self._at_once:
            return False
        self._lent[device] += 1
        self.give_back()
        return True

    def returned(self, device: str) -> None:
        """Note that somebody whose turn was lent has ended."""
        self._lent[device] -= 1
        self._pass_on()

    def expire(self, give_up_s: float) -> None:
        """Refuse who waits while for so long nothing has got on on their device."""
        now = time.monotonic()
        for device, queue in self._queues.items():
            if self._may(device):
                self._full_since.pop(device, None)
            elif now - self._full_since.setdefault(device, now) >= give_up_s:
                for waiter in queue:
                    if not waiter.done():
                        waiter.set_exception(_silent())
                queue.clear()

    def _may(self, device: str) -> bool:
        return self._lent[device] < self._at_once

    def _pass_on(self) -> None:
        while self._free > 0 and (waiter := self._next()) is not None:
            if not waiter.done():
                waiter.set_result(None)
                self._free -= 1

    def _next(self) -> asyncio.Future[None] | None:
        for device, queue in list(self._queues.items()):
            if queue and self._may(device):
                waiter = queue.popleft()
                del self._queues[device]
                self._queues[device] = queue  # behind those of other devices
                return waiter
            if not queue:
                del self._queues[device]
        return None


def _silent() -> EnvdError:
    return EnvdError(Code.UNAVAILABLE, "search: the file system does not answer, so nothing was begun")
