"""HTTP/2 as far as a go-between has to understand it: where frames begin, and to which stream they belong.

Frames pass through unread, but for one kind: where a client grants a stream more bytes, it tells how many it has
consumed. Two things are done on the way. Behind the header block of each request goes one more header that names
connection and stream, so that the handler of the call can be told how much of its stream has arrived. And what no
honest client does, resetting streams or asking for answers without end, is counted and ends the connection.

Source: RFC 9113, sections 4 and 6; RFC 7541, section 6.2.2 (a literal that leaves the dynamic table as it is).
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Mapping

from .ack_tracking import AckTracker, StreamAckTracker
from .origins import Ingress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALL_HEADER = "envd-call"

_HEAD = 9
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _END_HEADERS = 0x1, 0x4
_ACK_OR_END = 0x1  # of SETTINGS and PING the one, of DATA the other
_ENHANCE_YOUR_CALM = 0xB
_GRANT_BYTES = 4
_GRANT = bytes((0, 0, _GRANT_BYTES, _WINDOW_UPDATE))  # how such a frame begins
# At once, and then per second. A client may cancel many calls at a time; no honest one does it for long.
_RESETS = (4000, 200.0)
_CONTROLS = (10_000, 1000.0)
_GRANTS = (10_000, 1000.0)
_GRANTS_PER_DATA = 4  # a client may give back what each frame brought, to its stream and to the connection
_NEWCOMERS_STREAMS = 8
# Those above the server's own limit are refused by it at once; this is only for a client that does not wait for that.
_OPEN_AT_MOST = 8192


class AbuseError(Exception):
    """The connection is not to go on; the text says why."""


class Streams:
    """The ack trackers of the streams of all connections, by the name in the added header.

    Bounded by the streams that are open: one is forgotten here when it ends, its handler keeps the tracker.
    """

    def __init__(self) -> None:
        # A caller that does not know it has not come through the connections of this process.
        self._secret = secrets.token_hex(16)
        self._numbers = itertools.count(1)
        self._by_name: dict[str, StreamAckTracker] = {}

    def connection(self) -> str:
        """Return a name for a new connection."""
        return f"{self._secret}.{next(self._numbers)}"

    def add(self, name: str, acks: StreamAckTracker) -> None:
        """Add a stream."""
        self._by_name[name] = acks

    def forget(self, name: str) -> None:
        """Remove a stream."""
        self._by_name.pop(name, None)

    def claim(self, name: str) -> StreamAckTracker | None:
        """Return the tracker of a stream; None if it has ended already."""
        return self._by_name.get(name)

    def of_headers(self, headers: Mapping[str, str]) -> StreamAckTracker | None:
        """Return the tracker of the call that has these headers; None if it has ended already, or is not ours."""
        return self.claim(headers.get(CALL_HEADER, "").rpartition(", ")[2])  # the last one is ours

    def is_ours(self, name: str) -> bool:
        """Tell whether a name was given here."""
        return secrets.compare_digest(name.partition(".")[0].encode(errors="replace"), self._secret.encode())


class Conversation:
    """The state that both directions of one connection share: its open streams.

    Args:
        acks: counts the connection's bytes towards the client.
        place: where the connection came in.

    Attributes:
        held: bytes of bodies that came for streams that are open.
        on_vouch: called once, when the connection is no newcomer any more.
        on_room: called when another stream may be open.
        on_sent: called with the kind of a frame of the server's that a client may answer.
    """

    def __init__(self, streams: Streams, acks: AckTracker, place: Ingress = Ingress.NETWORK) -> None:
        self.acks = acks
        self._place = place
        self.last = 0
        self._streams = streams
        self._name = streams.connection()
        self._open: dict[int, StreamAckTracker] = {}
        self._vouched = False
        self.held = 0
        self.on_vouch: Callable[[], None] = _nothing
        self.on_room: Callable[[], None] = _nothing
        self.on_sent: Callable[[int], None] = _nothing

    @property
    def full(self) -> bool:
        """True while a newcomer has as many streams open as may wait for their token to be looked at."""
        return not self._vouched and len(self._open) >= _NEWCOMERS_STREAMS

    def vouch(self) -> None:
        """Record that a call was let in that needs the token."""
        if not self._vouched:
            self._vouched = True
            self.on_vouch()
            self.on_room()

    def __len__(self) -> int:
        return len(self._open)

    def is_new(self, stream: int) -> bool:
        """Tell whether a header block begins a stream; else it holds trailers, or is for one that is over.

        Raises:
            AbuseError: a client cannot begin such a stream, or has begun too many.
        """
        if stream % 2 == 0:
            raise AbuseError(f"stream {stream} cannot be a client's")
        if len(self._open) >= _OPEN_AT_MOST:
            raise AbuseError(f"more than {_OPEN_AT_MOST} streams are open")
        return stream > self.last

    def begin(self, stream: int) -> bytes:
        """Open a stream; return the frame that names it, which goes behind its header block."""
        name = f"{self._name}.{stream}"
        self.last = stream
        self._open[stream] = acks = StreamAckTracker(self.acks)
        acks.vouch = self.vouch
        acks.place = self._place
        self._streams.add(name, acks)
        field = b"\0" + _string(CALL_HEADER) + _string(name)
        return _frame(_CONTINUATION, _END_HEADERS, stream, field)

    def carried(self, stream: int, size: int, offset: int) -> None:
        """Note that a piece of a stream lies before byte `at` of the connection."""
        acks = self._open.get(stream)
        if acks is not None:
            acks.carried(size, offset)

    def granted(self, stream: int, size: int) -> None:
        """Note that the client grants a stream more bytes."""
        acks = self._open.get(stream)
        if acks is not None:
            acks.granted(size)

    def received(self, stream: int, size: int) -> None:
        """Note that the client sends `size` bytes more of a stream."""
        acks = self._open.get(stream)
        if acks is not None:
            acks.received += size
            self.held += size
            acks.on_received()

    def complete(self, stream: int) -> None:
        """Note that the client has sent the whole of a stream."""
        acks = self._open.get(stream)
        if acks is not None:
            acks.complete = True

    def end(self, stream: int) -> None:
        """Forget a stream."""
        acks = self._open.pop(stream, None)
        if acks is not None:
            self.held -= acks.received
            self.on_room()
            self._streams.forget(f"{self._name}.{stream}")

    def end_all(self) -> None:
        """Forget every stream: the connection is over."""
        for stream in list(self._open):
            self.end(stream)


class FromClient:
    """The client's bytes on their way to the server; `header_bytes` bounds one header block, as compressed."""

    def __init__(self, conversation: Conversation, header_bytes: int) -> None:
        self._conversation = conversation
        self._header_bytes = header_bytes
        self._remaining = len(PREFACE)
        self._held = b""
        self._named = 0
        self._bodiless = False
        self._block_bytes = 0
        self.stalled = False
        self._resets = _Allowance("stream resets", *_RESETS)
        self._controls = _Allowance("control frames", *_CONTROLS)
        self._grants = _Allowance("window updates", *_GRANTS)
        conversation.on_sent = self._sent

    def _sent(self, kind: int) -> None:
        """Allow the client its answer to a frame of the server."""
        if kind == _DATA:
            self._grants.more(_GRANTS_PER_DATA)
        else:
            self._controls.more(1)

    def drop(self) -> None:
        """Free what has not been passed on: the connection is over."""
        self._held = b""

    @property
    def waiting(self) -> int:
        """Bytes that have not been passed on."""
        return len(self._held)

    @property
    def in_head(self) -> bool:
        """True while the preface, the head of a frame, a header block or a grant is not whole, or has to wait."""
        return bool(self._held or self._block_bytes) or (self._remaining > 0 and self._conversation.last == 0)

    def feed(self, data: bytes) -> bytes:
        """Convert bytes of the client; return those that go to the server.

        Raises:
            AbuseError: the connection is not to go on.
        """
        data = self._held + data
        pieces: list[bytes] = []
        offset = copied = 0
        while True:
            step = min(self._remaining, len(data) - offset)
            offset, self._remaining = offset + step, self._remaining - step
            if self._remaining:
                break
            if self._named:
                pieces += (data[copied:offset], self._conversation.begin(self._named))
                if self._bodiless:
                    self._conversation.complete(self._named)
                copied, self._named = offset, 0
            if len(data) - offset < _HEAD + _GRANT_BYTES * data.startswith(_GRANT, offset):
                break
            self.stalled = data[offset + 3] == _HEADERS and self._conversation.full
            if self.stalled:
                break
            if self._frame(data, offset):
                # The header block does not end here any more: the frame with its name does that.
                pieces += (data[copied : offset + 4], bytes((data[offset + 4] & ~_END_HEADERS,)))
                copied = offset + 5
            offset += _HEAD
        self._held = b"" if self._remaining else data[offset:]
        pieces.append(data[copied : len(data) - len(self._held)])
        return b"".join(pieces)

    def _frame(self, data: bytes, offset: int) -> bool:
        """Look at the head of a frame; True if it ends a header block."""
        self._remaining, kind, flags, stream = _parse(data, offset)
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._conversation.complete(stream)
        if kind == _HEADERS:
            self._bodiless = bool(flags & _END_STREAM)
        if kind in (_HEADERS, _CONTINUATION):
            return self._block(flags, stream)
        if kind == _RST_STREAM:
            self._resets.use()
            self._conversation.end(stream)
        elif kind == _DATA and self._remaining:
            self._conversation.received(stream, self._remaining)
        elif data.startswith(_GRANT, offset):
            size = int.from_bytes(data[offset + _HEAD : offset + _HEAD + _GRANT_BYTES], "big")
            self._conversation.granted(stream, size & 0x7FFFFFFF)
            self._grants.use()
        elif kind != _DATA or not flags & _ACK_OR_END:
            self._controls.use()
        return False

    def _block(self, flags: int, stream: int) -> bool:
        self._block_bytes += self._remaining + _HEAD
        if self._block_bytes > self._header_bytes:
            raise AbuseError(f"request header is larger than {self._header_bytes} bytes")
        if not flags & _END_HEADERS:
            return False
        self._block_bytes = 0
        if self._conversation.is_new(stream):
            self._named = stream
            return True
        self._controls.use()
        return False


class FromServer:
    """The server's bytes on their way to the client."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._remaining = 0
        self._held = b""

    @property
    def between_frames(self) -> bool:
        """True where a frame of our own may be sent."""
        return not self._remaining and not self._held

    def feed(self, data: bytes) -> bytes:
        """Convert bytes of the server; return those that go to the client, whole heads of frames only."""
        data = self._held + data
        base = self._conversation.acks.written
        offset = 0
        while True:
            step = min(self._remaining, len(data) - offset)
            offset, self._remaining = offset + step, self._remaining - step
            if self._remaining or len(data) - offset < _HEAD:
                break
            self._frame(data, offset, base)
            offset += _HEAD
        self._held = b"" if self._remaining else data[offset:]
        return data[: len(data) - len(self._held)]

    def _frame(self, data: bytes, offset: int, base: int) -> None:
        self._remaining, kind, flags, stream = _parse(data, offset)
        if kind == _DATA and self._remaining:
            self._conversation.carried(stream, self._remaining, base + offset + _HEAD + self._remaining)
            self._conversation.on_sent(kind)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK_OR_END:
            self._conversation.on_sent(kind)
        if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._conversation.end(stream)


def goaway(last_stream: int, reason: str) -> bytes:
    """Return the frame that tells a client why its connection ends."""
    payload = last_stream.to_bytes(4, "big") + _ENHANCE_YOUR_CALM.to_bytes(4, "big") + reason.encode()
    return _frame(_GOAWAY, 0, 0, payload)


class _Allowance:
    """So many at once, and then so many per second."""

    def __init__(self, subject: str, at_once: int, per_s: float) -> None:
        self._subject = subject
        self._at_once = at_once
        self._per_s = per_s
        self._remaining = float(at_once)
        self._since = time.monotonic()

    def more(self, count: int) -> None:
        """Allow some more."""
        self._remaining = min(self._remaining + count, self._at_once)

    def use(self) -> None:
        """Use one up.

        Raises:
            AbuseError: there is none left.
        """
        now = time.monotonic()
        self._remaining = min(self._remaining + (now - self._since) * self._per_s, self._at_once) - 1
        self._since = now
        if self._remaining < 0:
            raise AbuseError(
                f"too many {self._subject}: {self._at_once} at once and {self._per_s:g} a second are allowed"
            )


def _nothing(*_: object) -> None:
    """Ignore the event."""


def _parse(data: bytes, offset: int) -> tuple[int, int, int, int]:
    """Return length, type, flags and stream of the frame whose head is at `at`."""
    head = int.from_bytes(data[offset : offset + _HEAD], "big")
    return head >> 48, head >> 40 & 0xFF, head >> 32 & 0xFF, head & 0x7FFFFFFF


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _string(text: str) -> bytes:
    """Encode a string of at most 126 bytes for a header block, without Huffman coding. RFC 7541, section 5.2."""
    return bytes((len(text),)) + text.encode()
