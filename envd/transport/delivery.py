"""How much of what was written has reached the peer's kernel."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import Protocol

# ioctl SIOCOUTQ has the number of TIOCOUTQ: bytes not yet acknowledged. Source: tcp(7), unix(7).
_SIOCOUTQ = termios.TIOCOUTQ
_MARKS = 1024


class Delivery:
    """Byte counts of one connection, in one direction; usable after the connection is gone.

    Errs on the side of less: bytes that may still be in our buffer or the kernel's do not count.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock: socket.socket | None = sock
        self._written = 0
        self._sent = 0
        self._final = 0

    @property
    def written(self) -> int:
        """Bytes handed to the event loop's transport so far."""
        return self._written

    def writing(self, size: int) -> None:
        """Note a write about to happen."""
        self._written += size

    def flushed(self) -> None:
        """Note that the transport has handed everything to the kernel."""
        self._sent = self._written

    def acknowledged(self) -> int:
        """Return the bytes the peer's kernel has acknowledged."""
        if self._sock is None:
            return self._final
        return max(self._sent - _unacknowledged(self._sock), 0)

    def close(self) -> None:
        """Fix the count; call it while the socket is still open."""
        self._final = self.acknowledged()
        self._sock = None


def _unacknowledged(sock: socket.socket) -> int:
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 1 << 30  # unknown: nothing counts


class Counted(Protocol):
    """Bytes that go one way, and how many of them have arrived."""

    @property
    def written(self) -> int:
        """Bytes handed over so far."""

    def acknowledged(self) -> int:
        """Return the bytes the peer's kernel has acknowledged."""


class StreamDelivery:
    """Byte counts of one stream among several on a connection; usable after both are gone.

    Args:
        connection: counts all its bytes; None if it is not known, and then nothing ever counts as arrived.

    Attributes:
        written: bytes of this stream that its handler has given away so far.
        heard: called when a piece of the stream arrives from the peer.
    """

    def __init__(self, connection: Delivery | None = None) -> None:
        self.written = 0
        self.heard: Callable[[], None] = _nobody_listens
        self._connection = connection
        self._carried = 0
        self._arrived = 0
        self._log: deque[tuple[int, int]] = deque()

    def carried(self, size: int, at: int) -> None:
        """Note that `size` more bytes of the stream lie before byte `at` of the connection."""
        self._carried += size
        if len(self._log) >= _MARKS:
            self.acknowledged()
        if len(self._log) >= _MARKS:
            self._log = deque(list(self._log)[1::2])
        self._log.append((at, self._carried))

    def acknowledged(self) -> int:
        """Return the bytes of this stream that the peer's kernel has acknowledged."""
        reached = self._connection.acknowledged() if self._log and self._connection is not None else 0
        while self._log and self._log[0][0] <= reached:
            self._arrived = self._log.popleft()[1]
        return self._arrived


def _nobody_listens() -> None:
    """Stand in until a handler waits for the stream."""


class Marks:
    """Which positions of one stream lie before which of its counted bytes.

    At most 1024 marks: when full, every second one is dropped, which only makes the answer more cautious.
    """

    def __init__(self, delivery: Counted) -> None:
        self._delivery = delivery
        self._marks: deque[tuple[int, object]] = deque()
        self._last: object = None

    def add(self, position: object) -> None:
        """Note that everything up to `position` has been written."""
        if len(self._marks) >= _MARKS:
            self.acknowledged()
        if len(self._marks) >= _MARKS:
            self._marks = deque(list(self._marks)[1::2])
        self._marks.append((self._delivery.written, position))

    def acknowledged(self) -> object:
        """Return the last position whose bytes the peer's kernel has, None if there is none."""
        reached = self._delivery.acknowledged() if self._marks else 0
        while self._marks and self._marks[0][0] <= reached:
            self._last = self._marks.popleft()[1]
        return self._last
