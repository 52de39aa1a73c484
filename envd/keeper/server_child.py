"""The server process as the keeper sees it: start, talk to, notice that it hangs, replace."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` wraps, without its import of enum
import _socket
import os
import select
import time
from _collections_abc import Callable

from . import wire
from .child_setup import CAUGHT, default_signals, fork
from .heartbeat import INTERVAL_S, Heartbeat, is_over
from .loop import Loop
from .notes import note

_BACKOFF_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
# Buffers of bulk output would otherwise be mapped and unmapped one by one. mallopt(3).
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "16777216"}
# Files in memory that one server writes and the next one reads; ENVD_SESSION_FD and so on tell it where. The keeper
# does not read them.
_RECORDS = ("session", "leftovers", "watchers", "uploads")
# A server that does not read this many messages is stuck: it is killed; its successor finds all in the records.
_OUTBOX_LIMIT = 65536
# So many servers that did not get to serve, one after the other, cast doubt on what is in memory.
_DOUBTFUL = 3

if wire.TYPE_CHECKING:
    # Makes a message and its descriptors at the moment it is sent.
    Packet = Callable[[], tuple[wire.Message, list[int]]]


class ServerChild:
    """One server at a time; `receive(message, descriptors)` gets what it sends, also what it sent before it died.

    Beside the one that serves there is one that stands by: forked from it with all its code loaded, it needs neither a
    new process nor a file to take over.
    """

    def __init__(
        self, loop: Loop, interpreter: str, argv: list[str], receive: Callable[[wire.Message, list[int]], None]
    ) -> None:
        self._loop = loop
        self._interpreter = interpreter
        self._argv = argv
        self._receive = receive
        self._sock: _socket.socket | None = None
        self._outbox: list[Packet] = []
        self._standby: Standby | None = None
        self._heartbeat = Heartbeat()
        self._killed, self._killed_ticks = False, 0
        self.failures = 0
        self.served = False
        self.pid = 0
        self.generation = 0
        self._records = [(f"ENVD_{name.upper()}_FD", os.memfd_create(name, os.MFD_CLOEXEC)) for name in _RECORDS]
        self._started_at = time.time()
        self.adopting: Callable[[], list[Packet]] = list
        self.ended: Callable[[int], None] = _ignore  # gets its wait(2) status
        self.failed: Callable[[int], None] = _ignore  # gets the errno of the failed fork

    def start(self) -> None:
        """Have the process that stands by serve, or fork and exec one; what it must adopt is sent first."""
        self.served = False
        self.generation += 1
        standby = self._take_standby()
        if standby is not None:
            self.pid, self._sock = standby.pid, standby.sock
        else:
            try:
                self.pid, self._sock = self._launch()
            except OSError as exc:
                note("error", "cannot start a process for the server", errno=exc.errno or 0)
                self.failed(exc.errno or 0)
                return
        self._heartbeat = Heartbeat()
        self._killed, self._killed_ticks = False, 0
        generation = self.generation
        self._outbox = [lambda: ((wire.BEGIN, generation), []), *self.adopting()]
        self._loop.watch(self._sock.fileno(), select.EPOLLIN, self._ready)
        self._flush()

    def _launch(self) -> tuple[int, _socket.socket]:
        ours, theirs = _socket_pair()
        try:
            pid = fork()
            if pid == 0:
                self._become_server(theirs.detach())
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return pid, ours

    def _become_server(self, theirs: int) -> None:
        try:
            default_signals(list(CAUGHT))
            for number in CAUGHT[1:]:
                # Sent to the whole process group, say by Ctrl-C, they are the keeper's to answer.
                _signal.signal(number, _signal.SIG_IGN)
            env = {
                **_MALLOC,
                **os.environ,
                "ENVD_GENERATION": str(self.generation),
                "ENVD_STARTED_AT": str(self._started_at),
            }
            env["ENVD_KEEPER_PROTOCOL"] = str(wire.PROTOCOL)
            for name, fd in (("ENVD_KEEPER_FD", theirs), *self._records):
                os.set_inheritable(fd, True)
                env[name] = str(fd)
            os.execve(self._interpreter, self._argv, env)
        finally:
            os._exit(127)

    def stand_by(self, fd: int) -> None:
        """Take over the socket of a process that stands by."""
        self._drop_standby()
        self._standby = Standby(fd)
        self._loop.watch(fd, select.EPOLLIN, self._hear_standby)

    def _hear_standby(self, _: int = 0) -> None:
        """Learn its pid, or that it is gone."""
        standby = self._standby
        try:
            message = wire.receive(standby.sock)[0] if standby is not None else None
        except BlockingIOError:
            return
        except OSError:
            message = None
        if message is None or standby is None:
            self._drop_standby()
        else:
            standby.pid = message[1]

    def _drop_standby(self) -> None:
        if self._standby is not None:
            self._loop.forget(self._standby.sock.fileno())
            self._standby.sock.close()  # it ends then
            self._standby = None

    def _take_standby(self) -> Standby | None:
        """Return the process that stands by; None if there is none.

        If servers do not get to serve, every second one is started from disk: what is there may be a better version.
        """
        self._hear_standby()
        standby = self._standby
        if standby is None or not standby.pid or (self.failures >= _DOUBTFUL and self.failures % 2):
            return None
        self._loop.forget(standby.sock.fileno())
        self._standby = None
        return standby

    def send(self, *message: object) -> None:
        """Queue a message for the server; without one it is dropped, for the next server reads the records."""
        if self._sock is not None:
            self._outbox.append(lambda: (message, []))
            self._flush()

    def _ready(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & ~select.EPOLLOUT:
            self._read()

    def _read(self) -> None:
        while self._sock is not None:
            try:
                message, fds = wire.receive(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with messages of ours unread; those it had sent are still in the queue
            except OSError:
                message, fds = None, []
            if message is None:
                self._disconnect()
            else:
                self._heartbeat.heard()
                self._receive(message, fds)

    def _flush(self) -> None:
        sent = 0
        try:
            while self._sock is not None and sent < len(self._outbox):
                message, fds = self._outbox[sent]()
                wire.send(self._sock, wire.pack(message), fds)
                sent += 1
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()  # it is gone; the end of file follows
        del self._outbox[:sent]
        if self._sock is not None:
            events = select.EPOLLIN | (select.EPOLLOUT if self._outbox else 0)
            self._loop.change(self._sock.fileno(), events)
        if len(self._outbox) > _OUTBOX_LIMIT:
            self.kill()

    def _disconnect(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
            self.kill()

    def kill(self) -> None:
        """End the server, if there is one."""
        if self.pid:
            self._killed = True
            try:  # noqa: SIM105 - contextlib is too large for the keeper
                os.kill(self.pid, 9)
            except ProcessLookupError:
                pass  # the process that adopts orphans here has waited for it

    def tick(self) -> None:
        """Ask the server for a sign of life, replace one that gives none; calls itself each interval from then on."""
        self._loop.call_at(time.monotonic() + INTERVAL_S, self.tick)
        if not self.pid:
            return
        if self._killed:
            self._killed_ticks += 1
            if is_over(self.pid, self._killed_ticks):
                note("warning", "a killed server is not waited for: the kernel holds it", pid=self.pid)
                self._over(9)
        elif self._heartbeat.lost(self.pid):
            note("warning", "server does not answer and is replaced", pid=self.pid, silent_s=self._heartbeat.silent)
            self.kill()
        elif not self._outbox:
            self.send(wire.PING)

    def reaped(self, pid: int, status: int) -> bool:
        """Record the exit of a child; False if it was neither the server nor the one that stands by."""
        if pid == self.pid:
            self._over(status)
        elif self._standby is not None and pid == self._standby.pid:
            self._drop_standby()
        else:
            return False
        return True

    def _over(self, status: int) -> None:
        """Receive what the dead server had still sent, then close its socket."""
        self.pid = 0
        self._read()
        self._disconnect()
        self.ended(status)

    def restart(self) -> float:
        """Plan the next start; return the delay in seconds."""
        self.failures = 0 if self.served else self.failures + 1
        delay = _BACKOFF_S[min(self.failures, len(_BACKOFF_S) - 1)]
        self._loop.call_at(time.monotonic() + delay, self.start)
        return delay


class Standby:
    """A process that has loaded the server's code and waits for its turn; pid 0 until it has said which it is."""

    __slots__ = ("pid", "sock")

    def __init__(self, fd: int) -> None:
        self.sock = _socket.socket(fileno=fd)
        self.sock.setblocking(False)
        self.pid = 0


def _ignore(_: int) -> None:
    """Stand in until somebody listens."""


def _socket_pair() -> tuple[_socket.socket, _socket.socket]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, wire.BUFFER_BYTES)
    return ours, theirs
