"""All programs: started, found, ended, and forgotten when their time is over."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

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
from .retention import Archive, Retention
from .spawn import Spawner
from .timers import end_tree, enforce, is_limited
from .turns import in_turns

log = logging.getLogger("envd.process")

_HOLDERS_NAMED = 16
_DESCRIPTORS_EACH = 6
_RETENTION_INTERVAL_S = 1.0
_UNREADABLE_TEXT = (
    "a program was started under this key, and what is kept of it cannot be read; List and the tag may still find it"
)


class Jobs(Protocol):
    """Runs what outlives a request; see envd.supervise."""

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a job."""


class ProcessTable:
    """The programs of this daemon.

    Bounded: the machine's processes and descriptors bound the running ones; finished ones are kept for the retention,
    and the oldest go when they are too many, hold too much output, or descriptors run out. One whose output something
    still holds is never dropped: closing the pipe would kill the holder. How a program with an idempotency key ended
    is remembered for the whole retention, of at most 10 000 forgotten programs.
    """

    def __init__(
        self, keeper: KeeperClient, spawner: Spawner, pool: JournalBudget, jobs: Jobs, retention: Retention
    ) -> None:
        self._keeper = keeper
        self._spawner = spawner
        self._pool = pool
        self._jobs = jobs
        self._archive = Archive(retention, self._forget, self._forget_key)
        self._programs: dict[int, Process] = {}
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
        return iter(list(self._programs.values()))

    def by_pid(self, pid: int) -> Process:
        """Return the program with a pid, a running one rather than a finished one.

        Raises:
            EnvdError: NOT_FOUND.
        """
        return _found(self._index.by_pid(pid), f"pid {pid}")

    def by_tag(self, tag: str) -> Process:
        """Return the program with a tag: the newest running one, else the newest finished one.

        Raises:
            EnvdError: NOT_FOUND.
        """
        return _found(self._index.by_tag(tag), f"tag {tag}")

    async def started(self, key: str) -> None:
        """Wait for a program that is being started with an idempotency key; returns at once if there is none."""
        known = self._by_key.get(key)
        if known is not None:
            await asyncio.shield(known)

    def by_key(self, key: str) -> Process:
        """Return the program an idempotency key names.

        Raises:
            EnvdError: NOT_FOUND if there is none, or it is forgotten, or still being started.
        """
        known = self._by_key.get(key)
        if known is None or not known.done() or known.exception() is not None:
            raise _not_found("idempotency key")
        running = known.result()
        return _found(self._programs.get(running.identity.ident), "idempotency key")

    # Starting.

    async def start(self, command: Command, username: str | None) -> tuple[Process, bool]:
        """Start a program as a user, None for the default one; return it, and whether its key had named it before.

        The program starts also if the caller does not wait for it.

        Raises:
            EnvdError: see Session.surroundings, Command.checks and Spawner.start; UNAVAILABLE while the daemon stops,
                ALREADY_EXISTS if the key named another command.
        """
        around = self._spawner.session.surroundings(username)
        await in_turns(command.checks())
        if self._stopping:
            raise EnvdError(Code.UNAVAILABLE, "the daemon is stopping: no program is started any more")
        known = self._by_key.get(command.key) if command.key is not None else None
        if known is not None:
            running = await asyncio.shield(known)
            _check_same(running, command, username, around)
            return running, True
        born = self._promise(command.key)
        self._jobs.spawn(self._start(command, around, username, born), name="start")
        return await asyncio.shield(born), False

    async def _start(
        self, command: Command, around: Surroundings, username: str | None, born: asyncio.Future[Process]
    ) -> None:
        ident = self._keeper.reserve()
        self._starting.add(ident)
        running: Process | None = None
        try:
            self._make_room()
            running = await self._spawner.start(ident, command, around, username)
        except EnvdError as exc:
            self._refuse(command, born, exc)
            return
        finally:
            self._starting.discard(ident)
            early = self._early_exits.pop(ident, None)
            if running is None and not born.done():
                self._refuse(command, born, EnvdError(Code.INTERNAL, "internal error"))
        running.output.expect_starter()
        self._register(running)
        born.set_result(running)
        log.info("process started", extra={"pid": running.pid, "cmd": command.cmd, "user": around.user.name})
        if early is not None:
            self._exited(ident, early)

    def _refuse(self, command: Command, born: asyncio.Future[Process], error: EnvdError) -> None:
        if command.key is not None:
            self._by_key.pop(command.key, None)  # nothing ran, so the key is free again
        born.set_exception(error)
        born.exception()  # the caller may have gone: then nobody else looks at it

    def _make_room(self) -> None:
        """Forget finished programs while descriptors are short.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if that does not help.
        """
        most = os.sysconf("SC_OPEN_MAX") * 5 // 8 // _DESCRIPTORS_EACH
        while len(self._programs) + len(self._starting) > most:
            if not self._archive.forget_first():
                raise EnvdError(
                    Code.RESOURCE_EXHAUSTED,
                    f"{most} programs are running: the daemon's limit on open files (RLIMIT_NOFILE) allows no more",
                )

    def _register(self, running: Process) -> None:
        self._programs[running.identity.ident] = running
        self._index.add(running)
        running.finished = self._finish
        running.left_behind = self._left_behind
        running.output.start()
        if is_limited(running):
            self._jobs.spawn(enforce(running, self.signal_tree), name="limits")

    def adopt(self, inherited: list[Inherited]) -> None:
        """Take over what an earlier server had started."""
        for one in inherited:
            if one.spawned is None:
                self._starting.add(one.ident)
                self._promise(self._spawner.key_of(one))
                self._jobs.spawn(self._adopt_later(one, self._keeper.outcome(one.ident)), name="adopt")
            else:
                self._adopt(one)

    async def _adopt_later(self, one: Inherited, outcome: asyncio.Future[Spawned]) -> None:
        spawned = await outcome
        exited = self._early_exits.pop(one.ident, one.exited)
        self._starting.discard(one.ident)
        key = self._spawner.key_of(one)
        self._adopt(Inherited(one.ident, spawned.pid, one.descriptors, spawned, exited))
        promise = self._by_key.get(key) if key is not None else None
        if promise is not None and not promise.done():
            # The key stays in use: a repeated Start must not run the program a second time.
            promise.set_exception(EnvdError(Code.DATA_LOSS, _UNREADABLE_TEXT))
            promise.exception()  # perhaps nobody waits

    def _adopt(self, one: Inherited) -> None:
        assert one.spawned is not None
        try:
            running = self._spawner.adopt(one, one.spawned)
        except UNREADABLE:
            log.exception("cannot take over a program: it is left alone", extra={"pid": one.pid})
            return
        if running is None:
            for fd in one.descriptors.values():
                os.close(fd)
            self._keeper.forget([one.ident])
            self._break_promise(self._spawner.key_of(one))
            return
        running.output.expect_followers()
        announced = _recall(running)
        self._register(running)
        if running.command.key is not None:
            self._promise(running.command.key).set_result(running)
        if one.exited is not None:
            self._index.ended(running)
        if one.exited is not None and announced:
            running.end_again(one.exited)
            self._keep_finished(running)
        elif one.exited is not None:
            running.exited(one.exited)

    def _promise(self, key: str | None) -> asyncio.Future[Process]:
        """Return the future of the program a key names; a repeated Start waits for it."""
        promise: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        return promise if key is None else self._by_key.setdefault(key, promise)

    def _break_promise(self, key: str | None) -> None:
        """Tell who waits for a program that never ran; its key is free again."""
        promise = self._by_key.pop(key, None) if key is not None else None
        if promise is not None and not promise.done():
            promise.set_exception(EnvdError(Code.UNAVAILABLE, "the program could not be started: try again"))
            promise.exception()  # perhaps nobody waits

    # Ending.

    def _exited(self, ident: int, record: ExitRecord) -> None:
        running = self._programs.get(ident)
        if running is not None:
            self._index.ended(running)
            running.exited(record)
        elif ident in self._starting:
            self._early_exits[ident] = record

    def _left_behind(self, running: Process) -> None:
        self._jobs.spawn(self._name_holders(running), name="holders")

    async def _name_holders(self, running: Process) -> None:
        names = running.output.held_names()
        identity = running.identity
        held_by: list[int] = []
        try:
            held_by = await asyncio.to_thread(self._trees.holders, identity.pid, identity.mark, names, _HOLDERS_NAMED)
        except OSError as exc:
            log.warning("cannot tell who holds a program's output", extra={"pid": running.pid, "error": str(exc)})
        running.end(tuple(held_by))

    def _finish(self, running: Process) -> None:
        self._keep_finished(running)
        ended = running.ended
        if ended is not None:
            extra = {
                "pid": running.pid,
                "exit_code": ended.exit_code,
                "signal": ended.signal,
                "cause": ended.cause.name,
            }
            log.info("process ended", extra=extra)

    def _keep_finished(self, running: Process) -> None:
        self._archive.add(running)
        running.output.settle(Finished(self._pool.sizes.finished, self._pool.sizes.live))

    async def signal_tree(self, running: Process, number: int) -> int:
        """Send a signal to a program and everything it started; return how many got it."""
        identity = running.identity
        if running.alive:
            self._keeper.kill(identity.ident, number, group=True)
        try:
            return await asyncio.to_thread(self._trees.signal, identity.pid, identity.mark, number)
        except OSError as exc:
            raise from_os_error(exc, doing=f"signal everything that process {running.pid} started") from exc

    def signal(self, running: Process, number: int, *, group: bool) -> None:
        """Send a signal to a program itself or its process group."""
        self._keeper.kill(running.identity.ident, number, group=group)

    async def stop(self, grace_s: float) -> None:
        """End all programs, and wait until they are gone; nothing is started any more."""
        self._stopping = True
        alive = [running for running in self if running.alive]
        await asyncio.gather(*(end_tree(running, Cause.SHUTDOWN, grace_s, self.signal_tree) for running in alive))
        for running in alive:
            await running.gone.wait()

    # Forgetting.

    async def retain(self) -> None:
        """Forget finished programs when their time is over, for as long as the daemon runs."""
        while True:
            await asyncio.sleep(_RETENTION_INTERVAL_S)
            self._archive.forget_late()

    def _forget(self, running: Process) -> None:
        del self._programs[running.identity.ident]
        self._index.remove(running)
        running.output.close()
        self._keeper.forget([running.identity.ident])

    def _forget_key(self, key: str) -> None:
        self._by_key.pop(key, None)

    def _reclaim(self, wanted: int) -> None:
        """Free journal memory: finished programs first, then the largest live ones down to their minimum."""
        goal = self._pool.kept - wanted
        while self._pool.kept > goal and self._archive.forget_first():
            pass
        for running in sorted(self._programs.values(), key=lambda running: running.output.kept, reverse=True):
            if self._pool.kept <= goal or running.output.kept <= self._pool.sizes.trimmed:
                break
            running.output.trim(self._pool.sizes.trimmed)


def _found(running: Process | None, name: str) -> Process:
    if running is None:
        raise _not_found(name)
    return running


def _not_found(name: str) -> EnvdError:
    return EnvdError(Code.NOT_FOUND, f"process with {name} not found")


def _check_same(running: Process, command: Command, username: str | None, around: Surroundings) -> None:
    """Refuse another request under a key that was used; the values are not told: they may be secret."""
    different = running.command.differences(command)
    identity = running.identity
    if identity.caller != username and identity.user != around.user.name:
        different.append("user")
    if different:
        raise EnvdError(
            Code.ALREADY_EXISTS,
            f"idempotency_key was used for process {running.pid}, with other {', '.join(different)}: use another key",
        )


def _recall(running: Process) -> bool:
    try:
        return running.recall()
    except UNREADABLE:
        log.exception("what is kept of a program's end cannot be read", extra={"pid": running.pid})
        return False
