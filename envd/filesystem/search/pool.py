"""Who may use the processes that search. See docs/decisions/0012-searching-in-processes.md."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from envd.errors import Code, EnvdError
from envd.filesystem.threads import Threads

from .orders import AnyOrder
from .processes import Answer, Worker

_LOOK_S = 1.0


class Workers:
    """At most so many workers; started when needed, ended when not needed for a minute.

    Who comes when all are busy waits its turn. When as many wait as may, the next is refused. If somebody waits, an
    order whose results nobody has taken for ten seconds gives way.
    """

    def __init__(
        self, threads: Threads, *, at_once: int, waiting: int = 256, idle_s: float = 60.0, stall_s: float = 10.0
    ) -> None:
        self._threads = threads
        self._free = at_once
        self._most_waiting = waiting
        self._idle_s = idle_s
        self._stall_s = stall_s
        self._idle: list[Worker] = []
        self._busy: set[Answer] = set()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._looking: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def answering(self, order: AnyOrder) -> AsyncIterator[Answer]:
        """Have an order answered; one that is left before its end is called off at once.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if too many wait, or no process can be started.
        """
        await self._turn()
        try:
            worker = self._take_idle() or await Worker.start(self._threads)
        except BaseException:
            self._pass_on()
            raise
        answer = Answer(worker)
        self._busy.add(answer)
        try:
            await worker.send(order, self._threads)
            yield answer
        finally:
            if not answer.evicted:
                self._release(answer)

    def stop(self) -> None:
        """End all of them."""
        for worker in [*self._idle, *(answer.worker for answer in self._busy)]:
            worker.end()

    async def _turn(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._queue) >= self._most_waiting:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"search: {self._most_waiting} searches are waiting already; try again later"
            )
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._look()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            elif not turn.cancelled():
                self._pass_on()  # we had got it already
            raise

    def _pass_on(self) -> None:
        """Let the next one have a turn."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _take_idle(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.retiring is not None:
                worker.retiring.cancel()
            if worker.lives:
                return worker
            worker.end()
        return None

    def _release(self, answer: Answer) -> None:
        self._busy.discard(answer)
        worker = answer.worker
        if answer.reusable:
            worker.retiring = asyncio.get_running_loop().call_later(self._idle_s, self._retire, worker)
            self._idle.append(worker)
        else:
            worker.end()
        self._pass_on()

    def _retire(self, worker: Worker) -> None:
        self._idle.remove(worker)
        worker.end()

    def _look(self) -> None:
        """While somebody waits, see each second whether somebody else has to give way."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if not self._queue:
            return
        limit = time.monotonic() - self._stall_s
        stalled = [one for one in self._busy if one.waits_since is not None and one.waits_since < limit]
        for answer in stalled[: len(self._queue)]:
            answer.evicted = True
            self._release(answer)
        self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
