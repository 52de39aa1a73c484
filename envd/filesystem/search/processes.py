"""A process that searches, as the server sees it, and its answer to one request."""

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
from typing import IO

from envd.errors import Code, EnvdError
from envd.filesystem.copy_bytes import write_all
from envd.filesystem.threads import Threads
from envd.keeper.naming import program_name

from . import frames
from .requests import AnyOrder

log = logging.getLogger("envd.search")

_NAME = "envd-search"
_PATH = "ENVD_SEARCH_PATH"
# Where modules are travels in the environment: `pkill -f python` would see it in a command line.
_BOOT = (
    f"import os,sys;sys.path+=os.environ[{_PATH!r}].split(os.pathsep);"
    "from envd.keeper.naming import call_this_process as call;from envd.services.filesystem.search.worker import main;"
    f"call({_NAME!r});main()"
)
_BUFFER_BYTES = 256 * 1024
_CPU_CLOCK = 2  # of a process by its number: CPUCLOCK_SCHED of linux/posix-timers.h
_REAP_S = 0.002
_PIPE_BYTES = 4096  # what an empty pipe takes at once, pipe(7)


class Worker:
    """A process that searches. It answers one request at a time.

    Attributes:
        retiring: ends it when nobody has needed it for a while.
    """

    def __init__(self, process: Leashed) -> None:
        self._process = process
        self._reader = asyncio.StreamReader(_BUFFER_BYTES)
        self._transport: asyncio.ReadTransport | None = None
        self.retiring: asyncio.TimerHandle | None = None
        self._ended = False
        self._clock = (~process.pid << 3) | _CPU_CLOCK
        self._spent_ns = -1
        self._still_since = 0.0

    @classmethod
    async def start(cls, threads: Threads) -> Worker:
        """Start one.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if that is not possible now.
        """
        started: list[Leashed] = []
        try:
            await threads.settle(lambda: started.append(_spawn()))
        except OSError as exc:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"search: no process could be started for it: {os.strerror(exc.errno or 0)}"
            ) from exc
        except asyncio.CancelledError:
            for process in started:
                cls(process).end()
                asyncio.get_running_loop().run_in_executor(None, process.wait)  # it has touched no disk yet
            raise
        return cls(started[0])

    @property
    def lives(self) -> bool:
        """True as long as there is the process."""
        return self._process.poll() is None

    def asked(self) -> None:
        """Note that something is waited for from now on."""
        self._spent_ns = -1

    def still_s(self, now: float) -> float:
        """Return for how long it has had no processor time, as far as was looked since it was asked."""
        try:
            spent = time.clock_gettime_ns(self._clock)
        except OSError:
            return 0.0  # it has ended, which reading tells
        if spent != self._spent_ns:
            self._spent_ns, self._still_since = spent, now
        return now - self._still_since

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
            if self._ended:
                raise EnvdError(Code.UNAVAILABLE, "search: the process that searched was ended; try again") from exc
            while (status := self._process.poll()) is None:
                await asyncio.sleep(_REAP_S)  # it has closed its output, so it is about to
            raise _ended(status) from exc

    def end(self) -> None:
        """End it, whatever it does. It still `lives` until the kernel has let go of it."""
        if self.retiring is not None:
            self.retiring.cancel()
        self._process.kill()
        for pipe in (self._process.stdin, self._transport or self._process.stdout, self._process.leash):
            if pipe is not None:
                pipe.close()
        self._ended = True


def _ended(status: int) -> EnvdError:
    if status == -signal.SIGPROF:
        return EnvdError(Code.RESOURCE_EXHAUSTED, "search: the expression takes too long on a file; make it simpler")
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return EnvdError(Code.UNAVAILABLE, f"search: the process that searched {how}; try again")


class Leashed(subprocess.Popen[bytes]):
    """A process that hears of the end of this one.

    Attributes:
        leash: nothing is ever written to it; its end, however that comes, is what is heard.
    """

    leash: IO[bytes] | None = None


def _spawn() -> Leashed:
    read_end, leash = os.pipe()
    try:
        process = _start(read_end)
        process.leash = open(leash, "wb", buffering=0)  # noqa: SIM115 - closed by Worker.end
    except BaseException:
        os.close(leash)
        raise
    finally:
        os.close(read_end)
    return process


def _start(read_end: int) -> Leashed:
    # Nothing of the environment but what the interpreter may need to find its libraries.
    environment = {name: value for name, value in os.environ.items() if name.startswith("LD_")}
    package = os.path.abspath(f"{os.path.dirname(__file__)}/../../..")
    # Appended to the worker's own path, so that nothing beside the package shadows the standard library.
    environment[_PATH] = os.pathsep.join([package, *filter(None, sys.path)])
    return Leashed(
        [program_name(_NAME), "-I", "-S", "-Xutf8", "-c", _BOOT],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=read_end,
        bufsize=0,
        cwd="/",
        env=environment,
        start_new_session=True,
    )


class WorkerAnswer:
    """The answer of a worker to one request.

    Attributes:
        waits_since: when what came last was handed out; None while the worker is waited for.
        evicted: it had to give way.
        lent: its turn was lent to another one, because the worker does not get on.
    """

    def __init__(self, worker: Worker, device: str) -> None:
        self.worker = worker
        self.device = device
        self.lent = False
        self._given_up = False
        self.waits_since: float | None = None
        self.evicted = False
        self.reusable = False
        self._failure: EnvdError | None = None

    def give_up(self) -> None:
        """Have whoever waits hear that the worker does not get on."""
        self._given_up = True
        self.worker.end()

    async def next(self) -> tuple[int, bytes] | None:
        """Return the next frame that is a part of the answer; None at its end.

        Raises:
            EnvdError: it failed, or the worker died.
        """
        self.waits_since = None
        self.worker.asked()
        while True:
            if self.evicted:
                raise EnvdError(
                    Code.ABORTED, "search: its results were not taken for a while, and other searches were waiting"
                )
            try:
                kind, payload = await self.worker.frame()
            except EnvdError as exc:
                if self._given_up:
                    raise EnvdError(Code.DEADLINE_EXCEEDED, "search: a file system does not answer") from exc
                raise
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
