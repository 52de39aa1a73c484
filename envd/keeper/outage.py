"""The keeper's answer to clients while no server can be started: 503 and why, at once, not a connection that hangs.

Nothing that a client sends is looked at. Every wire takes the answer: Connect, gRPC-Web and REST as JSON, and a gRPC
client, which expected HTTP/2, as UNAVAILABLE.
"""

from __future__ import annotations

import _socket
import select
import time
from _collections_abc import Callable

from .loop import Loop

_CONNECTIONS = 64  # at most; the oldest goes first
_AT_ONCE = 64
_LINGER_S = 2.0
_SHORTAGE_S = 1.0


class Outage:
    """Answers on the listening sockets from `begin` to `end`. Keeper and servers share them; the first one accepts.

    Args:
        listeners: numbers of their descriptors.
    """

    def __init__(self, loop: Loop, listeners: list[int]) -> None:
        self._loop = loop
        self._listeners = [_socket.socket(fileno=number) for number in listeners]
        self._lingering: dict[int, tuple[_socket.socket, float]] = {}  # with deadlines, the oldest first
        self._sweeping = False
        self._answer = b""
        self.under_way = False

    def begin(self, attempts: int, exit_code: int) -> None:
        """Answer from now on, or with other numbers."""
        why = f"envd: the server process cannot be started ({attempts} attempts, the last ended with {exit_code}); "
        body = f'{{"code":"unavailable","message":"{why}processes run on; the log of the daemon says more"}}'
        self._answer = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Retry-After: 5\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        if not self.under_way:
            self.under_way = True
            self._listen()

    def end(self) -> None:
        """Leave the sockets to the server."""
        if self.under_way:
            self.under_way = False
            for listener in self._listeners:
                self._loop.forget(listener.fileno())

    def _listen(self) -> None:
        if self.under_way:
            for listener in self._listeners:
                listener.setblocking(False)
                self._loop.forget(listener.fileno())
                self._loop.watch(listener.fileno(), select.EPOLLIN, _bound(self._accept, listener))

    def _accept(self, listener: _socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                number, _ = listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept wraps
            except BlockingIOError:
                return
            except OSError:  # no descriptor left: not at once again
                self._loop.forget(listener.fileno())
                self._loop.call_at(time.monotonic() + _SHORTAGE_S, self._listen)
                return
            self._refuse(_socket.socket(fileno=number))

    def _refuse(self, connection: _socket.socket) -> None:
        """Answer, then read what comes for a while: closed with something unread, the kernel would drop the answer."""
        connection.setblocking(False)
        try:
            connection.send(self._answer)
            connection.shutdown(_socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._lingering) >= _CONNECTIONS:
            self._close(next(iter(self._lingering)))
        number = connection.fileno()
        self._lingering[number] = connection, time.monotonic() + _LINGER_S
        self._loop.watch(number, select.EPOLLIN, lambda _: self._discard(number))
        self._sweep_later()

    def _discard(self, number: int) -> None:
        connection, _ = self._lingering[number]
        try:
            if connection.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(number)

    def _sweep_later(self) -> None:
        if self._lingering and not self._sweeping:
            self._sweeping = True
            self._loop.call_at(next(iter(self._lingering.values()))[1], self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = time.monotonic()
        for number in [number for number, (_, deadline) in self._lingering.items() if deadline <= now]:
            self._close(number)
        self._sweep_later()

    def _close(self, number: int) -> None:
        connection, _ = self._lingering.pop(number)
        self._loop.forget(number)
        connection.close()


def _bound(accept: Callable[[_socket.socket], None], listener: _socket.socket) -> Callable[[int], None]:
    return lambda _: accept(listener)
