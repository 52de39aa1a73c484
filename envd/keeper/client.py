"""KeeperClient: the server starts processes through it, adopts those that are there, and learns how they end."""

from __future__ import annotations

import _socket
import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error

from . import wire

_SPAWNS_AT_ONCE = 1024
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS)
_SHORTAGE_S = 0.1
_READS_PER_TURN = 256


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """The exit of a process, as the keeper saw it: wait(2) status, processor time, peak memory, time of day."""

    status: int
    user_s: float
    system_s: float
    max_rss_kib: int
    reaped_at: float


@dataclass(frozen=True, slots=True)
class Spawned:
    """The outcome of a spawn: `errno` 0 and a pid, or what failed and at which stage."""

    pid: int
    errno: int
    stage: str


@dataclass(frozen=True, slots=True)
class Inherited:
    """A process that an earlier server had started; its descriptors by slot are now the receiver's."""

    ident: int
    pid: int
    descriptors: dict[int, int]
    spawned: Spawned | None
    exited: ExitRecord | None


class KeeperClient:
    """Talks to the keeper over its socket; never blocks, never stops reading.

    Bounded: at most 1024 spawns are under way, one more is RESOURCE_EXHAUSTED; everything else queued for the keeper is
    one small message per process.
    """

    def __init__(self, fd: int) -> None:
        self._sock = _socket.socket(fileno=fd)
        self._sock.setblocking(False)
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._spawning: dict[int, asyncio.Future[Spawned]] = {}
        self._inherited: list[Inherited] = []
        self._adopted: asyncio.Future[list[Inherited]] | None = None
        self._next_ident = 1
        self.on_exit: Callable[[int, ExitRecord], None] = _ignore
        self.on_drain: Callable[[], None] = _ignore
        self.on_lost: Callable[[], None] = _ignore

    async def adopt(self) -> list[Inherited]:
        """Return the processes that are there, oldest first; call `attend` when it is known where exits go."""
        self._adopted = asyncio.get_running_loop().create_future()
        self.attend()
        return await self._adopted

    def attend(self) -> None:
        """Listen to the keeper."""
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._read)

    def reserve(self) -> int:
        """Return an ident that no process of this keeper has had."""
        ident, self._next_ident = self._next_ident, self._next_ident + 1
        return ident

    async def spawn(self, ident: int, recipe: dict[str, object], stdio: list[int], held: dict[int, int]) -> Spawned:
        """Start a process; return the outcome.

        Args:
            ident: from `reserve`.
            recipe: see envd.keeper.child_setup.
            stdio: the process's three standard descriptors.
            held: descriptors, by slot, that the keeper keeps duplicates of. The caller keeps its own of both.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if too many are being started, INVALID_ARGUMENT if the recipe is too large.
        """
        if len(self._spawning) >= _SPAWNS_AT_ONCE:
            raise EnvdError(Code.RESOURCE_EXHAUSTED, f"{_SPAWNS_AT_ONCE} processes are being started already")
        outcome: asyncio.Future[Spawned] = asyncio.get_running_loop().create_future()
        self._spawning[ident] = outcome
        try:
            self._send((wire.SPAWN, ident, recipe, list(held)), [*stdio, *held.values()])
            return await outcome
        except ValueError as exc:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"arguments and environment are larger than {wire.MESSAGE_BYTES} bytes"
            ) from exc
        except OSError as exc:
            raise from_os_error(exc, doing="start a process") from exc
        finally:
            self._spawning.pop(ident, None)

    def outcome(self, ident: int) -> asyncio.Future[Spawned]:
        """Return the outcome, once it is known, of a spawn that an earlier server had asked for."""
        self._spawning[ident] = asyncio.get_running_loop().create_future()
        return self._spawning[ident]

    def kill(self, ident: int, number: int, *, group: bool) -> None:
        """Signal a process or its process group; nothing happens once it has ended."""
        self._send((wire.KILL, ident, int(number), group), [])

    def close(self, ident: int, slots: list[int]) -> None:
        """Have the keeper close descriptors it holds for a process."""
        self._send((wire.CLOSE, ident, slots), [])

    def forget(self, idents: list[int]) -> None:
        """Have the keeper forget processes."""
        self._send((wire.FORGET, idents), [])

    def serving(self) -> None:
        """Tell the keeper that clients are answered: if this server dies now, the next one starts at once."""
        self._send((wire.SERVING,), [])

    def stand_by(self, fd: int) -> None:
        """Hand over the keeper's end of the socket of the process that stands by; it is closed here."""
        try:
            self._send((wire.STANDBY,), [fd])
        finally:
            os.close(fd)

    def _send(self, message: wire.Message, fds: list[int]) -> None:
        """Send now, or queue behind what waits; the caller may close its descriptors as soon as this returns.

        Raises:
            OSError: no descriptor or memory is left here to send it with; nothing was sent.
        """
        packet = wire.pack(message)
        if not self._outbox:
            try:
                wire.send(self._sock, packet, fds)
            except BlockingIOError:
                pass
            except OSError as exc:
                if exc.errno in _SHORTAGES:
                    raise
                return  # the keeper is gone; the reader will see it
            else:
                return
        self._outbox.append((packet, _duplicates(fds)))
        asyncio.get_running_loop().add_writer(self._sock.fileno(), self._flush)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._outbox:
                packet, fds = self._outbox[0]
                wire.send(self._sock, packet, fds)
                self._outbox.popleft()
                _close(fds)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno in _SHORTAGES:
                loop.call_later(_SHORTAGE_S, self._flush)
        loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        for _ in range(_READS_PER_TURN):
            try:
                message, fds = wire.receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                message, fds = None, []
            if message is None:
                asyncio.get_running_loop().remove_reader(self._sock.fileno())
                self.on_lost()
                return
            self._received(message, fds)
            if message[0] == wire.ADOPTED:
                # The next messages are about processes that nothing has taken over yet.
                asyncio.get_running_loop().remove_reader(self._sock.fileno())
                return

    def _received(self, message: wire.Message, fds: list[int]) -> None:
        kind, *fields = message
        if kind == wire.SPAWNED:
            ident, *outcome = fields
            waiting = self._spawning.get(ident)
            if waiting is not None and not waiting.done():
                waiting.set_result(Spawned(*outcome))
        elif kind == wire.EXITED:
            self.on_exit(fields[0], ExitRecord(*fields[1]))
        elif kind == wire.PROCESS:
            self._inherited.append(_inherited(fields, fds))
        elif kind == wire.ADOPTED and self._adopted is not None:
            self._next_ident = fields[0] + 1
            self._adopted.set_result(self._inherited)
            self._inherited = []
        elif kind == wire.DRAIN:
            self.on_drain()
        elif kind == wire.PING:
            self._send((wire.PONG,), [])


def kept_file(name: str) -> int:
    """Take over one of the keeper's files in memory, in which an earlier server may have left something.

    Returns:
        Its descriptor, the caller's, open for reading and writing.
    """
    fd = int(os.environ[f"ENVD_{name.upper()}_FD"])
    os.set_inheritable(fd, False)
    os.fchmod(fd, 0o600)
    return fd


def _inherited(fields: wire.Fields, fds: list[int]) -> Inherited:
    ident, pid, slots, spawned, exited = fields
    return Inherited(
        ident,
        pid,
        dict(zip(slots, fds, strict=False)),  # fewer if this process has no descriptor left
        Spawned(pid, *spawned[:2]) if spawned else None,
        ExitRecord(*exited[:5]) if exited else None,
    )


def _duplicates(fds: list[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(os.dup(fd) for fd in fds)
    except OSError:
        _close(copies)
        raise
    return copies


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _ignore(*_: object) -> None:
    """Stand in until somebody listens."""
