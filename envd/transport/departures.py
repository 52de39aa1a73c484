"""Departures: notices peers that have sent their end and are then gone altogether.

A peer that sends FIN may still read: RFC 9112, section 9.6. A socket whose end has been read stays readable for ever,
so the event loop does not look at it any more, and a peer that leaves would only be noticed by the next write. The
kernel still reports its reset, and on unix sockets its close, to an epoll that waits for nothing else: epoll_ctl(2),
EPOLLERR, EPOLLHUP.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


class Departures:
    """Calls back when such a peer is gone. Bounded by the connections there are: each forgets itself when it ends."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._attended = False

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the peer of a socket has closed it, or reset the connection."""
        if fd in self._callbacks:
            return
        if not self._attended:
            self._attended = True
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._notice)
        self._callbacks[fd] = callback
        self._epoll.register(fd, 0)

    def forget(self, fd: int) -> None:
        """Stop; call it while the socket is open."""
        if self._callbacks.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Stop altogether."""
        if self._attended:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._callbacks.clear()

    def _notice(self) -> None:
        for fd, _ in self._epoll.poll(0):
            callback = self._callbacks.get(fd)
            self.forget(fd)
            if callback is not None:
                callback()
