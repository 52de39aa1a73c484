"""The processes that search, and who may use them. See docs/decisions/0012-searching-in-processes.md."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from envd.errors import Code, EnvdError
from envd.filesystem.content import write_all
from envd.filesystem.threads import Threads

from . import frames
from .orders import AnyOrder

log = logging.getLogger("envd.search")

_BOOT = f"{os.path.dirname(os.path.abspath(__file__))}/boot.py"
_BUFFER_BYTES = 256 * 1024
_PIPE_BYTES = 4096  # what an empty pipe takes at once, pipe(7)
_LOOK_S = 1.0


class Worker:
    """One process. It answers one order at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._reader = asyncio.StreamReader(_BUFFER_BYTES)
        self._transport: asyncio.ReadTransport | None = None
        self.retiring: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, threads: Threads) -> Worker:
        """Start one.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if that is not possible now.
        """
        started: list[subprocess.Popen[bytes]] = []
        try:
            await threads.settle(lambda: started.append(_spawn()))
        except OSError as exc:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"search: no process could be started for it: {os.strerror(exc.errno or 0)}"
            ) from exc
        except asyncio.CancelledError:
            for process in started:
                cls(process).end()
            raise
        return cls(started[0])

    @property
    def lives(self) -> bool:
        """True as long as it can be given orders."""
        return self._process.poll() is None

    async def send(self, order: AnyOrder, threads: Threads) -> None:
        """Give it an order."""
        if self._transport is None:
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(self._reader), self._process.stdout
            )
        data = pickle.dumps(order, pickle.HIGHEST_PROTOCOL)
        data = frames.LENGTH.pack(len(data)) + data
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died; reading tells
            if len(data) <= _PIPE_BYTES:
                write_all(self._process.stdin.fileno(), data)
            else:
                await threads.settle(write_all, self._process.stdin.fileno(), data)

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame of its answer.

        Raises:
            EnvdError: UNAVAILABLE if it has died.
        """
        try:
            length, kind = frames.HEAD.unpack(await self._reader.readexactly(frames.HEAD.size))
            return kind, await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as exc:
            status = await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
            raise _ended(status) from exc

    def end(self) -> None:
        """End it, whatever it does."""
        if self.retiring is not None:
            self.retiring.cancel()
        self._process.kill()
        for pipe in (self._process.stdin, self._transport or self._process.stdout):
            if pipe is not None:
                pipe.close()
        # It is dead at once unless the kernel waits for a disk; the loop does not wait for either.
        asyncio.get_running_loop().run_in_executor(None, self._process.wait)


def _ended(status: int) -> EnvdError:
    if status == -signal.SIGPROF:
        return EnvdError(Code.RESOURCE_EXHAUSTED, "search: the expression takes too long on a file; make it simpler")
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return EnvdError(Code.UNAVAILABLE, f"search: the process that searched {how}; try again")


def _spawn() -> subprocess.Popen[bytes]:
    # Nothing of the environment but what the interpreter may need to find its libraries.
    environment = {name: value for name, value in os.environ.items() if name.startswith("LD_")}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", _BOOT, *filter(None, sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env=environment,
        start_new_session=True,
    )


class Answer:
    """What a worker answers to one order.

    Attributes:
        waits_since: when what came last was handed out; None while the worker is waited for.
        evicted: it had to give way.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.waits_since: float | None = None
        self.evicted = False
        self.reusable = False
        self._failure: EnvdError | None = None

    async def next(self) -> tuple[int, bytes] | None:
        """Return the next frame that is a part of the answer; None at its end.

        Raises:
            EnvdError: it failed, or the worker died.
        """
        self.waits_since = None
        while True:
            if self.evicted:
                raise EnvdError(
                    Code.ABORTED, "search: its results were not taken for a while, and other searches were waiting"
                )
            kind, payload = await self.worker.frame()
            if kind in (frames.MESSAGE, frames.VALUE):
                self.waits_since = time.monotonic()
                return kind, payload
            if kind == frames.DONE:
                self.reusable = bool(frames.unpacked(payload))
                if self._failure is not None:
                    raise self._failure
                return None
            self._failure = _failure(kind, payload)
            if kind == frames.BROKEN:
                raise self._failure


def _failure(kind: int, payload: bytes) -> EnvdError:
    if kind == frames.FAILED:
        code, message = frames.unpacked(payload)
        return EnvdError(Code(code), message)
    log.error("search failed", extra={"stack": payload.decode(errors="replace")})
    return EnvdError(Code.INTERNAL, "search: a fault of the daemon's; its log says more")


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
            if turn.done() and not turn.cancelled():
                self._pass_on()
            else:
                self._queue.remove(turn)
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
