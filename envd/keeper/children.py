"""The programs: fork them, hold their descriptors, keep their exit records until the server forgets them."""

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
    """One program; `spawned` is (errno, stage) once known, `exited` its exit record once it was reaped."""

    __slots__ = ("exited", "held", "ident", "pid", "report", "spawned")

    def __init__(self, ident: int, pid: int, report: int, held: dict[int, int]) -> None:
        self.ident = ident
        self.pid = pid
        self.report = report
        self.held = held
        self.spawned: tuple[int, str] | None = None
        self.exited: ExitRecord | None = None


class Children:
    """All programs by ident and, until they are reaped, by pid.

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
        """Fork a child; the result is sent when it has become the program, or failed to."""
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
        program = Child(ident, pid, report, held)
        self.by_ident[ident] = self._by_pid[pid] = program
        self._loop.watch(report, select.EPOLLIN, lambda _: self._resolve(program))
        self._starting[ident] = time.monotonic() + SPAWN_DEADLINE_S
        self._watch_deadline()

    def _refuse(self, ident: int, number: int, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        self._send(wire.SPAWNED, ident, 0, number, "fork")

    def _resolve(self, program: Child) -> None:
        """Read what the child reported: nothing at all means that exec succeeded."""
        if program.spawned is not None:
            return
        try:
            report = os.read(program.report, 64)
        except BlockingIOError:
            return
        number, _, stage = report.decode().partition(" ")
        self._spawned(program, int(number or 0), stage)

    def _give_up_late_ones(self) -> None:
        """Kill children that hang before exec, say in a working directory on a dead mount."""
        self._watching_deadline = False
        now = time.monotonic()
        for ident in [ident for ident, deadline in self._starting.items() if deadline <= now]:
            program = self.by_ident[ident]
            os.kill(program.pid, 9)
            self._spawned(program, _ETIMEDOUT, "timeout")
        self._watch_deadline()

    def _watch_deadline(self) -> None:
        """Have one timer for the oldest child that is starting."""
        if self._starting and not self._watching_deadline:
            self._watching_deadline = True
            self._loop.at(next(iter(self._starting.values())), self._give_up_late_ones)

    def _spawned(self, program: Child, number: int, stage: str) -> None:
        program.spawned = (number, stage)
        del self._starting[program.ident]
        self._loop.forget(program.report)
        os.close(program.report)
        self._send(wire.SPAWNED, program.ident, program.pid, number, stage)

    def reaped(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        """Take note of a reaped child; one that is no program (an adopted orphan) is ignored."""
        program = self._by_pid.pop(pid, None)
        if program is None:
            return
        self._resolve(program)
        program.exited = (status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss, time.time())
        if program.ident in self.by_ident:
            self._send(wire.EXITED, program.ident, program.exited)

    def kill(self, ident: int, number: int, *, group: bool) -> None:
        """Signal a program that has not been reaped, so that its pid cannot have become another's."""
        program = self.by_ident.get(ident)
        if program is None or program.exited is not None:
            return
        try:
            if group:
                os.killpg(program.pid, number)
            else:
                os.kill(program.pid, number)
        except OSError:
            pass  # the group is empty, or the program belongs to someone an unprivileged daemon may not signal

    def close(self, ident: int, slots: list[int]) -> None:
        """Let go of some descriptors, so that a pipe's other end sees its end."""
        program = self.by_ident.get(ident)
        held = program.held if program is not None else {}
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
        """Return the PROGRAM message and descriptors that hand one program to a new server."""
        program = self.by_ident[ident]
        slots = list(program.held)
        message = (wire.PROGRAM, ident, program.pid, slots, program.spawned, program.exited)
        return message, [program.held[slot] for slot in slots]

    def kill_all(self) -> None:
        """Kill the groups of all programs not yet reaped."""
        for program in self._by_pid.values():
            self.kill(program.ident, 9, group=True)
