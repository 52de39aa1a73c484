"""Keeper: takes signals, reaps children, keeps the server alive and holds the processes of clients."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` wraps, without its import of enum
import gc
import os
import resource
import select
import time
from _collections_abc import Callable

from . import wire
from .child_setup import CAUGHT, ChildSetup
from .children import Children
from .loop import Loop
from .notes import note
from .outage import Outage
from .server_child import ServerChild

if wire.TYPE_CHECKING:
    from .server_child import Packet

# The time the server may take to drain before the rest is killed.
DRAIN_DEADLINE_S = 30.0
# So many servers, one after the other, that did not get to serve: from then on clients get an answer.
_ATTEMPTS = 5


class Keeper:
    """Ties the server and the children together; see docs/decisions/0002 for why it exists."""

    def __init__(self, interpreter: str, server_argv: list[str], listeners: list[int]) -> None:
        self.loop = Loop()
        setup = ChildSetup(_raise_descriptor_limit())
        self.server = ServerChild(self.loop, interpreter, server_argv, self._received)
        self.children = Children(self.loop, setup, self.server.send)
        self.server.adopting = self._adoption
        self.server.ended = self._server_ended
        self.server.failed = self._restart
        self._outage = Outage(self.loop, listeners)
        self._signals = _catch_signals()
        self._stopping = 0
        self.exit_status: int | None = None

    def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        self.loop.watch(self._signals, select.EPOLLIN, self._signalled)
        self.server.start()
        self.server.tick()
        gc.collect()
        gc.freeze()
        gc.disable()
        self.loop.run(lambda: self.exit_status is not None)
        self.children.kill_all()
        return self.exit_status or 0

    def _adoption(self) -> list[Packet]:
        sends: list[Packet] = [_later(self.children.describe, ident) for ident in self.children.by_ident]
        sends.append(lambda: ((wire.ADOPTED, self.children.last_ident), []))
        if self._stopping:
            sends.append(lambda: ((wire.DRAIN,), []))
        return sends

    def _received(self, message: wire.Message, fds: list[int]) -> None:
        kind, *fields = message
        if kind == wire.SPAWN:
            ident, recipe, slots = fields
            self.children.start(ident, recipe, slots, fds)
        elif kind == wire.KILL:
            ident, number, group = fields
            self.children.kill(ident, number, group=group)
        elif kind == wire.CLOSE:
            self.children.close(*fields)
        elif kind == wire.SERVING:
            self.server.served = True
            self._outage.end()
        elif kind == wire.STANDBY and fds:
            self.server.stand_by(fds[0])
        elif kind == wire.FORGET:
            self.children.forget(*fields)

    def _signalled(self, _: int) -> None:
        numbers = os.read(self._signals, 4096)
        if _signal.SIGCHLD in numbers:
            self._reap()
        for number in numbers:
            if number != _signal.SIGCHLD:
                self._stop()

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if not self.server.reaped(pid, status):
                self.children.reaped(pid, status, usage)

    def _server_ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        if self._stopping and code >= 0:
            self.exit_status = code
        else:
            self._restart(code)

    def _restart(self, code: int) -> None:
        delay, failures = self.server.restart(), self.server.failures
        note("warning", "server ended, restarting", exit_code=code, delay_ms=int(delay * 1000))
        if failures >= _ATTEMPTS:
            note("error", "no server can be started: clients are told so", attempts=failures)
            self._outage.begin(failures, code)

    def _stop(self) -> None:
        self._stopping += 1
        if self._stopping == 1:
            self.server.send(wire.DRAIN)  # without a server now, the next one is told
            self.loop.call_at(time.monotonic() + DRAIN_DEADLINE_S, self._force)
        else:
            self._force()

    def _force(self) -> None:
        self.server.kill()
        self.exit_status = 1 if self.exit_status is None else self.exit_status


def _later(describe: Callable[[int], tuple[wire.Message, list[int]]], ident: int) -> Packet:
    return lambda: describe(ident)


def _raise_descriptor_limit() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one; return what it was, for the children."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    return limits


def _catch_signals() -> int:
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in CAUGHT:
        # Under nohup, or in the background of a script, some are ignored: they stay so.
        if number == _signal.SIGCHLD or _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _nothing)
    return reader


def _nothing(*_: object) -> None:
    """Exists so that the signal interrupts the wait; its number arrives through the wake-up descriptor."""
