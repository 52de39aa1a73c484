"""Ack tracking: counts of written bytes that have reached the peer's kernel, and of those its application has."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .origins import Ingress
from .peer import unread_at_most

# ioctl SIOCOUTQ has the number of TIOCOUTQ: bytes not yet acknowledged. Source: tcp(7), unix(7).
_SIOCOUTQ = termios.TIOCOUTQ
_MARKS = 1024
# A library opens its window for the whole of a message of which it has only a part, and keeps some beyond its window.
_LIBRARY_BYTES = 256 * 1024
# A window may be so large that a client never says what it has consumed. A client that buffers more than this ahead of
# its application loses some of it with the connection; without a bound all that was ever sent would be kept for it.
_UNREAD_BYTES = 16 * 1024 * 1024
# Where a wire says nothing of it at all. Linux 6.16 lets a receive buffer grow to 32 MiB, earlier ones to 6; more than
# the upper bound would take too much of all journals' memory for one reader.
_ON_THE_WAY_BYTES = 16 * 1024 * 1024
_MOST_ON_THE_WAY_BYTES = 64 * 1024 * 1024

_Value = TypeVar("_Value")


class AckTracker:
    """Byte counts of one connection, in one direction; usable after the connection is gone.

    Errs on the side of less: bytes that may still be in our buffer or the kernel's do not count.

    Attributes:
        unread_at_most: so many acknowledged bytes may lie unread in kernels on the way, a proxy's among them.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock: socket.socket | None = sock
        self._written = 0
        self._sent = 0
        self._final = 0
        self.unread_at_most = min(max(unread_at_most(sock), _ON_THE_WAY_BYTES), _MOST_ON_THE_WAY_BYTES)

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

    def consumed(self) -> int:
        """Return the bytes the peer's application surely has: HTTP/1.1 says no more than the kernel."""
        return self.acknowledged()

    def close(self) -> None:
        """Fix the count; call it while the socket is still open."""
        self._final = self.acknowledged()
        self._sock = None


def _unacknowledged(sock: socket.socket) -> int:
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return 1 << 30  # unknown: nothing counts


class AckCounter(Protocol):
    """Bytes that go one way, and how many of them have arrived."""

    @property
    def written(self) -> int:
        """Bytes handed over so far."""

    def acknowledged(self) -> int:
        """Return the bytes the peer's kernel has acknowledged."""

    def consumed(self) -> int:
        """Return the bytes the peer's application surely has, which its library cannot lose any more."""


class _Trail(Generic[_Value]):
    """Values along the way of a count, each with the count at which it is reached.

    At most 1024 of them: when full, every second one is dropped, which only makes the answer more cautious.
    """

    def __init__(self, count: Callable[[], int], start: _Value) -> None:
        self._count = count
        self._values: deque[tuple[int, _Value]] = deque()
        self._last = start

    def add(self, offset: int, value: _Value) -> None:
        """Note a value; `offset` never goes back."""
        if len(self._values) >= _MARKS:
            self.last()
        if len(self._values) >= _MARKS:
            self._values = deque(list(self._values)[1::2])
        self._values.append((offset, value))

    def last(self) -> _Value:
        """Return the last value reached."""
        reached = self._count() if self._values else 0
        while self._values and self._values[0][0] <= reached:
            self._last = self._values.popleft()[1]
        return self._last


class StreamAckTracker:
    """Byte counts of one stream among several on a connection; usable after both are gone.

    Args:
        connection: counts all its bytes; None if it is not known, and then nothing ever counts as arrived.

    Attributes:
        written: bytes of this stream that its handler has given away so far.
        on_received: called when a piece of the stream arrives from the peer.
        received: bytes of the stream that the peer has sent or begun to send, with what goes before each message.
        place: where the connection came in.
        vouch: to be called when the call is let in and needs the token.
        complete: the peer has said that it sends no more; a stream that was reset or lost before is not.
    """

    def __init__(self, connection: AckTracker | None = None) -> None:
        self.written = 0
        self.on_received: Callable[[], None] = _ignore
        self.received = 0
        self.complete = False
        self.vouch: Callable[[], None] = _ignore
        self.place = Ingress.NETWORK
        self._carried = 0
        self._granted = 0
        self._ahead = 0
        self._outstanding = 0
        self._arrived = _Trail(connection.acknowledged if connection is not None else _nothing, 0)

    def carried(self, size: int, offset: int) -> None:
        """Note that `size` more bytes of the stream lie before byte `offset` of the connection."""
        self._carried += size
        self._arrived.add(offset, self._carried)

    def granted(self, size: int) -> None:
        """Note that the client lets `size` bytes more be sent than its initial window and what it granted before.

        It does so as its application reads. The most it ever granted beyond what was sent it may have added to its
        window; the rest it gives back for what was consumed. What the initial window is, and whether it changes, does
        not matter: it changes what may be sent and what may lie unread alike. RFC 9113, section 6.9.
        """
        self._outstanding = max(self._outstanding, self._carried - self._granted)
        self._granted += size
        self._ahead = max(self._ahead, self._granted - self._carried)

    def acknowledged(self) -> int:
        """Return the bytes of this stream that the peer's kernel has acknowledged."""
        return self._arrived.last()

    def consumed(self) -> int:
        """Return the bytes of this stream that the peer's application surely has; late by two windows at most.

        One of them for gRPC's C core, which Python, Ruby and PHP use: it gives back what has just arrived together
        with what was read. At times 2 MB lay unread in grpcio 1.85 behind a window of 4 MiB that was all open.
        """
        arrived = self.acknowledged()
        outstanding = max(self._outstanding, self._carried - self._granted)
        returned = self._granted - self._ahead - outstanding - _LIBRARY_BYTES
        return min(arrived, max(returned, arrived - _UNREAD_BYTES, 0))


def _ignore() -> None:
    """Stand in until a handler waits for the stream."""


def _nothing() -> int:
    return 0


class Marks:
    """Positions of one stream, each with the count of bytes behind which it lies."""

    def __init__(self, acks: AckCounter) -> None:
        self._acks = acks
        self._acknowledged = _Trail[object](acks.acknowledged, None)
        self._consumed = _Trail[object](acks.consumed, None)

    def add(self, position: object) -> None:
        """Note that everything up to `position` has been written."""
        self._acknowledged.add(self._acks.written, position)
        self._consumed.add(self._acks.written, position)

    def acknowledged(self) -> object:
        """Return the last position whose bytes the peer's kernel has, None if there is none."""
        return self._acknowledged.last()

    def consumed(self) -> object:
        """Return the last position whose bytes the peer's application surely has, None if there is none."""
        return self._consumed.last()
