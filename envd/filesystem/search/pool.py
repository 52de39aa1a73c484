"""The pool of processes that search. See docs/decisions/0012-searching-in-processes.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from envd.filesystem.threads import Threads

from .limit import SearchLimit
from .processes import Worker, WorkerAnswer
from .requests import AnyOrder

_LOOK_S = 1.0
_REAP_S = 0.002
_REAP_MOST_S = 0.5
_STUCK_S = 1.0  # without a nanosecond of processor time


class Workers:
    """Holds a limited number of workers: started when needed, ended when not needed for a minute.

    Who comes when all are busy waits its turn. When as many wait as may, the next is refused. If somebody waits, an
    order whose results nobody has taken for ten seconds gives way. A worker that a file system does not answer leaves
    its turn to others; nobody waits for it longer than `give_up_s`.
    """

    def __init__(
        self,
        threads: Threads,
        *,
        at_once: int,
        waiting: int = 256,
        idle_s: float = 60.0,
        stall_s: float = 10.0,
        give_up_s: float = 30.0,
    ) -> None:
        self._threads = threads
        self._turns = SearchLimit(at_once, waiting)
        self._idle_s = idle_s
        self._stall_s = stall_s
        self._give_up_s = give_up_s
        self._idle: list[Worker] = []
        self._busy: set[WorkerAnswer] = set()
        self._ending: set[Worker] = set()
        self._looking: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def answering(self, order: AnyOrder) -> AsyncIterator[WorkerAnswer]:
        """Have an order answered; one that is left before its end is called off at once.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if too many wait, or no process can be started.
        """
        device = self._threads.device(order.selection.path)
        self._look_later()
        await self._turns.take(device)
        try:
            worker = self._take_idle() or await Worker.start(self._threads)
        except BaseException:
            self._turns.give_back()
            raise
        answer = WorkerAnswer(worker, device)
        self._busy.add(answer)
        try:
            await worker.send(order, self._threads)
            yield answer
        finally:
            if not answer.evicted:
                self._release(answer)

    async def stop(self, grace_s: float = 1.0) -> None:
        """End all of them; return when they have, or after a grace: the kernel may not let go of one."""
        for worker in [*self._idle, *(answer.worker for answer in self._busy)]:
            self._end(worker)
        if self._looking is not None:
            self._looking.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._ending:
                    await asyncio.sleep(_REAP_S)

    def _take_idle(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.retiring is not None:
                worker.retiring.cancel()
            if worker.lives:
                return worker
            self._end(worker)
        return None

    def _release(self, answer: WorkerAnswer) -> None:
        self._busy.discard(answer)
        worker = answer.worker
        stuck = answer.waits_since is None and not answer.reusable and worker.still_s(time.monotonic()) >= _STUCK_S
        if stuck and not answer.lent:
            answer.lent = self._turns.lend(answer.device)
        over = partial(self._turns.returned, answer.device) if answer.lent else self._turns.give_back
        if answer.reusable:
            worker.retiring = asyncio.get_running_loop().call_later(self._idle_s, self._retire, worker)
            self._idle.append(worker)
        else:
            self._end(worker, over if stuck else None)
        if not stuck:
            over()

    def _retire(self, worker: Worker) -> None:
        self._idle.remove(worker)
        self._end(worker)

    def _end(self, worker: Worker, on_exit: Callable[[], object] | None = None) -> None:
        self._ending.add(worker)
        worker.end()
        self._reap(worker, on_exit, _REAP_S)

    def _reap(self, worker: Worker, on_exit: Callable[[], object] | None, again_s: float) -> None:
        """Wait for it: it is dead at once unless the kernel waits for a disk, and no thread is to wait for that."""
        if worker.lives:
            next_s = min(2 * again_s, _REAP_MOST_S)
            asyncio.get_running_loop().call_later(again_s, self._reap, worker, on_exit, next_s)
            return
        self._ending.discard(worker)
        if on_exit is not None:
            on_exit()

    def _look_later(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """While anybody searches or waits, see each second who has to give way, and who does not get on."""
        self._looking = None
        now = time.monotonic()
        self._turns.expire(self._give_up_s)
        waiting = len(self._turns)
        stalled = [
            answer
            for answer in self._busy
            if answer.waits_since is not None and answer.waits_since < now - self._stall_s
        ]
        for answer in stalled[:waiting]:
            answer.evicted = True
            self._release(answer)
        for answer in [answer for answer in self._busy if answer.waits_since is None]:
            still_s = answer.worker.still_s(now)
            if still_s >= self._give_up_s:
                answer.give_up()
            elif still_s >= _STUCK_S and waiting and not answer.lent:
                answer.lent = self._turns.lend(answer.device)
        if self._busy or len(self._turns):
            self._look_later()
