"""The server process as the keeper sees it: start, talk to, restart with backoff, end."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` wraps, without its import of enum
import _socket
import os
import select
import time
from _collections_abc import Callable

from . import wire
from .loop import Loop
from .recipe import CAUGHT, default_signals, fork

_BACKOFF_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)
# Buffers of bulk output would otherwise be mapped and unmapped one by one. mallopt(3).
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4194304", "MALLOC_TRIM_THRESHOLD_": "16777216"}
# Files in memory that one server writes and the next one reads; ENVD_SESSION_FD and so on tell it where. What is in
# them is nothing to us.
_RECORDS = ("session", "leftovers", "watchers", "uploads")
# A server that does not read this many messages is stuck: it is killed; its successor finds all in the records.
_OUTBOX_LIMIT = 65536

if wire.TYPE_CHECKING:
    # Makes a message and its descriptors at the moment it is sent.
    Packet = Callable[[], tuple[wire.Message, list[int]]]


class ServerChild:
    """One server at a time; `receive(message, descriptors)` gets what it sends, also what it sent before it died."""

    def __init__(
        self, loop: Loop, program: str, argv: list[str], receive: Callable[[wire.Message, list[int]], None]
    ) -> None:
        self._loop = loop
        self._program = program
        self._argv = argv
        self._receive = receive
        self._sock: _socket.socket | None = None
        self._outbox: list[Packet] = []
        self._failures = 0
        self.served = False
        self.pid = 0
        self.generation = 0
        self._records = [(f"ENVD_{name.upper()}_FD", os.memfd_create(name, os.MFD_CLOEXEC)) for name in _RECORDS]
        self._born = time.time()
        self.adopting: Callable[[], list[Packet]] = list

    def start(self) -> None:
        """Fork and exec a server; what it must adopt is sent first."""
        self.served = False
        try:
            ours, theirs = _socket_pair()
        except OSError:
            self.restart()
            return
        self.generation += 1
        try:
            self.pid = fork()
        except OSError:
            ours.close()
            os.close(theirs)
            self.restart()
            return
        if self.pid == 0:
            self._become_server(theirs)
        os.close(theirs)
        ours.setblocking(False)
        self._sock = ours
        self._outbox = self.adopting()
        self._loop.watch(ours.fileno(), select.EPOLLIN, self._ready)
        self._flush()

    def _become_server(self, theirs: int) -> None:
        try:
            default_signals(list(CAUGHT))
            for number in CAUGHT[1:]:
                # Sent to the whole process group, say by Ctrl-C, they are the keeper's to answer.
                _signal.signal(number, _signal.SIG_IGN)
            env = {**_MALLOC, **os.environ, "ENVD_GENERATION": str(self.generation), "ENVD_STARTED_AT": str(self._born)}
            for name, fd in (("ENVD_KEEPER_FD", theirs), *self._records):
                os.set_inheritable(fd, True)
                env[name] = str(fd)
            os.execve(self._program, self._argv, env)
        finally:
            os._exit(127)

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
            wanted = select.EPOLLIN | (select.EPOLLOUT if self._outbox else 0)
            self._loop.change(self._sock.fileno(), wanted)
        if len(self._outbox) > _OUTBOX_LIMIT:
            self.kill(9)

    def _disconnect(self) -> None:
        if self._sock is not None:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
            self.kill(9)

    def kill(self, number: int) -> None:
        """Signal the server, if there is one."""
        if self.pid:
            os.kill(self.pid, number)

    def reaped(self) -> None:
        """Take what the dead server had still sent, then let go of it."""
        self.pid = 0
        self._read()
        self._disconnect()

    def restart(self) -> float:
        """Plan the next start; return the delay in seconds."""
        self._failures = 0 if self.served else min(self._failures + 1, len(_BACKOFF_S) - 1)
        delay = _BACKOFF_S[self._failures]
        self._loop.at(time.monotonic() + delay, self.start)
        return delay


def _socket_pair() -> tuple[_socket.socket, int]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 20)
    return ours, theirs.detach()
