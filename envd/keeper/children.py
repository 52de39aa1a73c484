"""Children: forks processes, holds their descriptors, and keeps their exit records until the server forgets them."""

from __future__ import annotations

import os
import resource
import select
import time
from _collections_abc import Callable

from . import wire
from .child_setup import ChildSetup, Recipe, fork, run_child
from .loop import Loop

SPAWN_DEADLINE_S = 30.0
_ETIMEDOUT = 110
_EMFILE = 24
_EINVAL = 22

# status as wait(2) gives it, user and system seconds, peak resident KiB, wall-clock time of the reaping.
ExitRecord = tuple[int, float, float, int, float]
Send = Callable[..., None]


class Child:
    """One process; `spawned` is (errno, stage) once known, `exited` its exit record once it was reaped."""

    __slots__ = ("exited", "held", "ident", "pid", "report", "spawned")

    def __init__(self, ident: int, pid: int, report: int, held: dict[int, int]) -> None:
        self.ident = ident
        self.pid = pid
        self.report = report
        self.held = held
        self.spawned: tuple[int, str] | None = None
        self.exited: ExitRecord | None = None


class Children:
    """All processes by ident and, until they are reaped, by pid.

    A record is only dropped by `forget`, so a server that dies at any instant finds everything here again.
    """

    def __init__(self, loop: Loop, setup: ChildSetup, send: Send) -> None:
        self._loop = loop
        self._setup = setup
        self._send = send
        self.by_ident: dict[int, Child] = {}
        self.last_ident = 0
        self._by_pid: dict[int, Child] = {}
        self._starting: dict[int, float] = {}  # ident to deadline, oldest first
        self._watching_deadline = False

    def start(self, ident: int, fields: dict[str, object] | None, slots: list[int], fds: list[int]) -> None:
        """Fork a child; the result is sent when it has executed the file, or failed to."""
        self.last_ident = max(self.last_ident, ident)
        if fields is None or len(fds) != 3 + len(slots):
            self._refuse(ident, _EMFILE, fds)  # the kernel drops descriptors for which there is no number left
            return
        try:
            recipe = Recipe(fields)  # before the fork: an exception in the child would make it a second keeper
        except KeyError:
            self._refuse(ident, _EINVAL, fds)
            return
        stdio, held = fds[:3], dict(zip(slots, fds[3:], strict=True))
        try:
            report, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            self._refuse(ident, exc.errno or _ETIMEDOUT, fds)
            return
        try:
            pid = fork()
        except OSError as exc:
            self._refuse(ident, exc.errno or _ETIMEDOUT, [*fds, report, theirs])
            return
        if pid == 0:
            run_child(recipe, stdio, theirs, self._setup)
        for fd in (*stdio, theirs):
            os.close(fd)
        child = Child(ident, pid, report, held)
        self.by_ident[ident] = self._by_pid[pid] = child
        self._loop.watch(report, select.EPOLLIN, lambda _: self._resolve(child))
        self._starting[ident] = time.monotonic() + SPAWN_DEADLINE_S
        self._watch_deadline()

    def _refuse(self, ident: int, number: int, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        self._send(wire.SPAWNED, ident, 0, number, "fork")

    def _resolve(self, child: Child) -> None:
        """Read what the child reported: nothing at all means that exec succeeded."""
        if child.spawned is not None:
            return
        try:
            report = os.read(child.report, 64)
        except BlockingIOError:
            return
        number, _, stage = report.decode().partition(" ")
        self._spawned(child, int(number or 0), stage)

    def _give_up_late_ones(self) -> None:
        """Kill children that hang before exec, say in a working directory on a dead mount."""
        self._watching_deadline = False
        now = time.monotonic()
        for ident in [ident for ident, deadline in self._starting.items() if deadline <= now]:
            child = self.by_ident[ident]
            os.kill(child.pid, 9)
            self._spawned(child, _ETIMEDOUT, "timeout")
        self._watch_deadline()

    def _watch_deadline(self) -> None:
        """Have one timer for the oldest child that is starting."""
        if self._starting and not self._watching_deadline:
            self._watching_deadline = True
            self._loop.call_at(next(iter(self._starting.values())), self._give_up_late_ones)

    def _spawned(self, child: Child, number: int, stage: str) -> None:
        child.spawned = (number, stage)
        del self._starting[child.ident]
        self._loop.forget(child.report)
        os.close(child.report)
        self._send(wire.SPAWNED, child.ident, child.pid, number, stage)

    def reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Record the exit of a child; an adopted orphan is ignored."""
        child = self._by_pid.pop(pid, None)
        if child is None:
            return
        self._resolve(child)
        child.exited = (status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss, time.time())
        if child.ident in self.by_ident:
            self._send(wire.EXITED, child.ident, child.exited)

    def kill(self, ident: int, number: int, *, group: bool) -> None:
        """Signal a process that has not been reaped, so that its pid cannot have become another's."""
        child = self.by_ident.get(ident)
        if child is None or child.exited is not None:
            return
        try:
            if group:
                os.killpg(child.pid, number)
            else:
                os.kill(child.pid, number)
        except OSError:
            pass  # the group is empty, or an unprivileged daemon may not signal the process's user

    def close(self, ident: int, slots: list[int]) -> None:
        """Close some descriptors, so that a pipe's other end sees its end."""
        child = self.by_ident.get(ident)
        held = child.held if child is not None else {}
        for slot in slots:
            fd = held.pop(slot, -1)
            if fd >= 0:
                os.close(fd)

    def forget(self, idents: list[int]) -> None:
        """Drop records and descriptors; a child that still runs is reaped later and reported to nobody."""
        for ident in idents:
            if ident in self._starting:
                continue
            self.close(ident, list(self.by_ident[ident].held) if ident in self.by_ident else [])
            self.by_ident.pop(ident, None)

    def describe(self, ident: int) -> tuple[wire.Message, list[int]]:
        """Return the PROCESS message and descriptors that hand one process to a new server."""
        child = self.by_ident[ident]
        slots = list(child.held)
        message = (wire.PROCESS, ident, child.pid, slots, child.spawned, child.exited)
        return message, [child.held[slot] for slot in slots]

    def kill_all(self) -> None:
        """Kill the groups of all processes not yet reaped."""
        for child in self._by_pid.values():
            self.kill(child.ident, 9, group=True)
