"""ProcessTable: starts, finds and ends processes, and forgets them when their time is over."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

from envd.config import Output
from envd.errors import Code, EnvdError, from_os_error
from envd.host import process_tree
from envd.host.session import Surroundings
from envd.host.unreadable import UNREADABLE
from envd.keeper.client import ExitRecord, Inherited, KeeperClient, Spawned

from .command import Command
from .events import Cause
from .index import Index
from .journal_budget import JournalBudget
from .output import Finished
from .process import Process
from .retention import FinishedProcesses
from .spawn import Spawner
from .timers import end_tree, enforce, is_limited
from .turns import in_turns

log = logging.getLogger("envd.process")

_HOLDERS_NAMED = 16
_DESCRIPTORS_EACH = 6
_RETENTION_INTERVAL_S = 1.0
_UNREADABLE_TEXT = (
    "a process was started under this key, and what is kept of it cannot be read; List and the tag may still find it"
)


class Jobs(Protocol):
    """Runs what outlives a request; see envd.supervise."""

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a job."""


class ProcessTable:
    """The processes of this daemon.

    Bounded: the machine's processes and descriptors bound the running ones; finished ones are kept for the retention,
    and the oldest go when they are too many, hold too much output, or descriptors run out. One whose output something
    still holds is never dropped: closing the pipe would kill the holder. How a process with an idempotency key ended
    is remembered for the whole retention, of at most 10 000 forgotten processes.
    """

    def __init__(self, keeper: KeeperClient, spawner: Spawner, pool: JournalBudget, jobs: Jobs, config: Output) -> None:
        self._keeper = keeper
        self._spawner = spawner
        self._pool = pool
        self._jobs = jobs
        self._finished = FinishedProcesses(config, self._forget, self._forget_key)
        self._processes: dict[int, Process] = {}
        self._index = Index()
        self._trees = process_tree.ProcessTrees(os.getppid(), self._index.leaders)
        self._by_key: dict[str, asyncio.Future[Process]] = {}
        self._starting: set[int] = set()
        self._early_exits: dict[int, ExitRecord] = {}
        self._stopping = False
        keeper.on_exit = self._exited
        pool.reclaim = self._reclaim

    # Finding.

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._processes.values()))

    def running(self) -> int:
        """Return the number of processes that have not ended."""
        return sum(process.ended is None for process in self._processes.values())

    def by_pid(self, pid: int) -> Process:
        """Return the process with a pid, a running one rather than a finished one.

        Raises:
            EnvdError: NOT_FOUND.
        """
        return _existing(self._index.by_pid(pid), f"pid {pid}")

    def by_tag(self, tag: str) -> Process:
        """Return the process with a tag: the newest running one, else the newest finished one.

        Raises:
            EnvdError: NOT_FOUND.
        """
        return _existing(self._index.by_tag(tag), f"tag {tag}")

    async def started(self, key: str) -> None:
        """Wait for a process that is being started with an idempotency key; returns at once if there is none."""
        promise = self._by_key.get(key)
        if promise is not None:
            await asyncio.shield(promise)

    def by_key(self, key: str) -> Process:
        """Return the process an idempotency key names.

        Raises:
            EnvdError: NOT_FOUND if there is none, or it is forgotten, or still being started.
        """
        promise = self._by_key.get(key)
        if promise is None or not promise.done() or promise.exception() is not None:
            raise _not_found("idempotency key")
        process = promise.result()
        return _existing(self._processes.get(process.identity.ident), "idempotency key")

    # Starting.

    async def start(self, command: Command, username: str | None) -> tuple[Process, bool]:
        """Start a process as a user, None for the default one; return it, and whether its key had named it before.

        The process starts also if the caller does not wait for it.

        Raises:
            EnvdError: see Session.surroundings, Command.checks and Spawner.start; UNAVAILABLE while the daemon stops,
                ALREADY_EXISTS if the key named another command.
        """
        surroundings = self._spawner.session.surroundings(username)
        await in_turns(command.checks())
        if self._stopping:
            raise EnvdError(Code.UNAVAILABLE, "the daemon is stopping: no process is started any more")
        promise = self._by_key.get(command.key) if command.key is not None else None
        if promise is not None:
            process = await asyncio.shield(promise)
            _check_same(process, command, username, surroundings)
            return process, True
        promise = self._promise(command.key)
        self._jobs.spawn(self._start(command, surroundings, username, promise), name="start")
        return await asyncio.shield(promise), False

    async def _start(
        self, command: Command, surroundings: Surroundings, username: str | None, promise: asyncio.Future[Process]
    ) -> None:
        ident = self._keeper.reserve()
        self._starting.add(ident)
        process: Process | None = None
        try:
            self._make_room()
            process = await self._spawner.start(ident, command, surroundings, username)
        except EnvdError as exc:
            self._refuse(command, promise, exc)
            return
        finally:
            self._starting.discard(ident)
            early = self._early_exits.pop(ident, None)
            if process is None and not promise.done():
                self._refuse(command, promise, EnvdError(Code.INTERNAL, "internal error"))
        process.output.expect_starter()
        self._register(process)
        promise.set_result(process)
        log.info("process started", extra={"pid": process.pid, "cmd": command.cmd, "user": surroundings.user.name})
        if early is not None:
            self._exited(ident, early)

    def _refuse(self, command: Command, promise: asyncio.Future[Process], error: EnvdError) -> None:
        if command.key is not None:
            self._by_key.pop(command.key, None)  # nothing ran, so the key is free again
        promise.set_exception(error)
        promise.exception()  # the caller may have gone: then nobody else looks at it

    def _make_room(self) -> None:
        """Forget finished processes while descriptors are short.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if that does not help.
        """
        limit = os.sysconf("SC_OPEN_MAX") * 5 // 8 // _DESCRIPTORS_EACH
        while len(self._processes) + len(self._starting) > limit:
            if not self._finished.forget_first():
                raise EnvdError(
                    Code.RESOURCE_EXHAUSTED,
                    f"{limit} processes are running: the daemon's limit on open files (RLIMIT_NOFILE) allows no more",
                )

    def _register(self, process: Process) -> None:
        self._processes[process.identity.ident] = process
        self._index.add(process)
        process.finished = self._finish
        process.left_behind = self._left_behind
        process.output.start()
        if is_limited(process):
            self._jobs.spawn(enforce(process, self.signal_tree), name="limits")

    def adopt(self, inherited: list[Inherited]) -> None:
        """Take over the processes that an earlier server had started."""
        for entry in inherited:
            if entry.spawned is None:
                self._starting.add(entry.ident)
                self._promise(self._spawner.key_of(entry))
                self._jobs.spawn(self._adopt_later(entry, self._keeper.outcome(entry.ident)), name="adopt")
            else:
                self._adopt(entry)

    async def _adopt_later(self, entry: Inherited, outcome: asyncio.Future[Spawned]) -> None:
        spawned = await outcome
        exited = self._early_exits.pop(entry.ident, entry.exited)
        self._starting.discard(entry.ident)
        key = self._spawner.key_of(entry)
        self._adopt(Inherited(entry.ident, spawned.pid, entry.descriptors, spawned, exited))
        promise = self._by_key.get(key) if key is not None else None
        if promise is not None and not promise.done():
            # The key stays in use: a repeated Start must not run the process a second time.
            promise.set_exception(EnvdError(Code.DATA_LOSS, _UNREADABLE_TEXT))
            promise.exception()  # perhaps nobody waits

    def _adopt(self, entry: Inherited) -> None:
        assert entry.spawned is not None
        try:
            process = self._spawner.adopt(entry, entry.spawned)
        except UNREADABLE:
            log.exception("cannot take over a process: it is left alone", extra={"pid": entry.pid})
            return
        if process is None:
            for fd in entry.descriptors.values():
                os.close(fd)
            self._keeper.forget([entry.ident])
            self._break_promise(self._spawner.key_of(entry))
            return
        process.output.expect_subscribers()
        announced = _recall(process)
        self._register(process)
        if process.command.key is not None:
            self._promise(process.command.key).set_result(process)
        if entry.exited is not None:
            self._index.ended(process)
        if entry.exited is not None and announced:
            process.end_again(entry.exited)
            self._keep_finished(process)
        elif entry.exited is not None:
            process.exited(entry.exited)

    def _promise(self, key: str | None) -> asyncio.Future[Process]:
        """Return the future of the process a key names; a repeated Start waits for it."""
        promise: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        return promise if key is None else self._by_key.setdefault(key, promise)

    def _break_promise(self, key: str | None) -> None:
        """Fail the calls that wait for a process that never ran; its key is free again."""
        promise = self._by_key.pop(key, None) if key is not None else None
        if promise is not None and not promise.done():
            promise.set_exception(EnvdError(Code.UNAVAILABLE, "the process could not be started: try again"))
            promise.exception()  # perhaps nobody waits

    # Ending.

    def _exited(self, ident: int, record: ExitRecord) -> None:
        process = self._processes.get(ident)
        if process is not None:
            self._index.ended(process)
            process.exited(record)
        elif ident in self._starting:
            self._early_exits[ident] = record

    def _left_behind(self, process: Process) -> None:
        self._jobs.spawn(self._name_holders(process), name="holders")

    async def _name_holders(self, process: Process) -> None:
        names = process.output.held_names()
        identity = process.identity
        held_by: list[int] = []
        try:
            held_by = await asyncio.to_thread(self._trees.holders, identity.pid, identity.mark, names, _HOLDERS_NAMED)
        except OSError as exc:
            log.warning("cannot tell who holds a process's output", extra={"pid": process.pid, "error": str(exc)})
        process.end(tuple(held_by))

    def _finish(self, process: Process) -> None:
        self._keep_finished(process)
        ended = process.ended
        if ended is not None:
            extra = {
                "pid": process.pid,
                "exit_code": ended.exit_code,
                "signal": ended.signal,
                "cause": ended.cause.name,
            }
            log.info("process ended", extra=extra)

    def _keep_finished(self, process: Process) -> None:
        self._finished.add(process)
        process.output.settle(Finished(self._pool.config.finished_bytes, self._pool.config.live_bytes))

    async def signal_tree(self, process: Process, number: int) -> int:
        """Send a signal to a process and everything it started; return how many got it."""
        identity = process.identity
        if process.alive:
            self._keeper.kill(identity.ident, number, group=True)
        try:
            return await asyncio.to_thread(self._trees.signal, identity.pid, identity.mark, number)
        except OSError as exc:
            raise from_os_error(exc, doing=f"signal everything that process {process.pid} started") from exc

    def signal(self, process: Process, number: int, *, group: bool) -> None:
        """Send a signal to a process itself or its process group."""
        self._keeper.kill(process.identity.ident, number, group=group)

    async def stop(self, grace_s: float) -> None:
        """End all processes, and wait until they are gone; nothing is started any more."""
        self._stopping = True
        alive = [process for process in self if process.alive]
        await asyncio.gather(*(end_tree(process, Cause.SHUTDOWN, grace_s, self.signal_tree) for process in alive))
        for process in alive:
            await process.gone.wait()

    # Forgetting.

    async def retain(self) -> None:
        """Forget finished processes when their time is over, for as long as the daemon runs."""
        while True:
            await asyncio.sleep(_RETENTION_INTERVAL_S)
            self._finished.forget_late()

    def _forget(self, process: Process) -> None:
        del self._processes[process.identity.ident]
        self._index.remove(process)
        process.output.close()
        self._keeper.forget([process.identity.ident])

    def _forget_key(self, key: str) -> None:
        self._by_key.pop(key, None)

    def _reclaim(self, size_bytes: int) -> None:
        """Free journal memory: finished processes first, then the largest live ones down to their minimum."""
        goal = self._pool.kept - size_bytes
        while self._pool.kept > goal and self._finished.forget_first():
            pass
        for process in sorted(self._processes.values(), key=lambda process: process.output.kept, reverse=True):
            if self._pool.kept <= goal or process.output.kept <= self._pool.config.trimmed_bytes:
                break
            process.output.trim(self._pool.config.trimmed_bytes)


def _existing(process: Process | None, name: str) -> Process:
    if process is None:
        raise _not_found(name)
    return process


def _not_found(name: str) -> EnvdError:
    return EnvdError(Code.NOT_FOUND, f"process with {name} not found")


def _check_same(process: Process, command: Command, username: str | None, surroundings: Surroundings) -> None:
    """Refuse another request under a key that was used; the message does not have the values: they may be secret."""
    different = process.command.differences(command)
    identity = process.identity
    if identity.caller != username and identity.user != surroundings.user.name:
        different.append("user")
    if different:
        raise EnvdError(
            Code.ALREADY_EXISTS,
            f"idempotency_key was used for process {process.pid}, with other {', '.join(different)}: use another key",
        )


def _recall(process: Process) -> bool:
    try:
        return process.recall()
    except UNREADABLE:
        log.exception("what is kept of a process's end cannot be read", extra={"pid": process.pid})
        return False
