"""Acceptor: takes connections from a listening socket.

The event loop's own way tries 4096 times in a row when there are no descriptors, and logs each: 92 MB in a minute.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

log = logging.getLogger("envd.transport")

_AT_ONCE = 64  # then others have their turn
_PAUSE_S = 0.1


class SpawnTask(Protocol):
    """Runs a task that outlives its caller."""

    def __call__(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a job."""


class Acceptor:
    """Accepts until it is closed.

    Args:
        first: makes the protocol of a new connection.
        make_room: called when there are no descriptors; True if it has ended another connection.
        descriptors: their limit.
    """

    def __init__(
        self,
        sock: socket.socket,
        first: Callable[[], asyncio.Protocol],
        spawn: SpawnTask,
        make_room: Callable[[], bool],
        descriptors: int,
    ) -> None:
        self._sock = sock
        self._first = first
        self._spawn = spawn
        self._make_room = make_room
        # The lowest free number is given first: one so high says how many there are. What is left is for files, logs
        # and the connections that take one's place.
        self._highest = descriptors - max(descriptors // 16, 16)
        self._closed = False

    def start(self) -> None:
        """Begin, or go on."""
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._ready)

    def close(self) -> None:
        """Stop accepting, and close the socket."""
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                self._make_room()
                self._pause(str(exc))
                return
            if sock.fileno() >= self._highest and not self._make_room():
                sock.close()
                self._pause("few descriptors are left")
                return
            sock.setblocking(False)
            self._spawn(self._hand_over(sock), name="accept")

    async def _hand_over(self, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._first, sock)
        except OSError:
            sock.close()

    def _pause(self, reason: str) -> None:
        log.warning("no connections are accepted for a moment", extra={"reason": reason})
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.call_later(_PAUSE_S, self.start)
