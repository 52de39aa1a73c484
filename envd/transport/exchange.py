"""One HTTP request and the response to it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from envd.web import Settle

from .ack_tracking import AckTracker, Marks
from .body import RequestBody
from .cors import response_headers
from .origins import Ingress
from .status import REASONS

_HELD_BYTES = 16 * 1024
_INTERIM_S = 1.0
# Without a word in between. Some clients take 16 digits of a chunk's size, and 6 say how long ours are.
_PROBES = 8

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request: method, decoded path, raw query, headers by lower-case name.

    `authority` is what an absolute target names before its path, None for any other.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    http11: bool
    authority: str | None = None


class Wire(Protocol):
    """The connection, as an exchange needs it."""

    acks: AckTracker

    def write(self, data: bytes) -> None:
        """Send bytes."""

    async def drain(self) -> None:
        """Wait until the kernel has taken everything written."""

    def vouch(self) -> None:
        """Record that a call was let in that needs the token."""

    async def send_file(self, fd: int, offset: int, count: int, settle: Settle) -> None:
        """Send bytes of a file; nothing else is written meanwhile."""


class Exchange:
    """Request, and a response that is either whole or streamed. At most one response is sent.

    Attributes:
        foreign: the page that asks may not read the answer.
        half_closed: the peer has sent its end.
    """

    def __init__(
        self, wire: Wire, head: Head, body: RequestBody, *, keep_alive: bool, place: Ingress = Ingress.NETWORK
    ) -> None:
        self.head = head
        self.place = place
        self.body = body
        self.keep_alive = keep_alive
        self.started = False
        self.finished = False
        self.body_may_idle = False
        self.username: str | None = None
        self.foreign = False
        self._wire = wire
        self._chunked = False
        self._pending = b""
        self._held = b""
        self._flushing = False
        self.half_closed = False
        self._probes = 0
        self._begin_early: Callable[[Exchange], None] | None = None

    @property
    def awaits_body(self) -> bool:
        """True while the client keeps a reader waiting that should not have to."""
        return self.body.waiting and not self.body_may_idle

    def vouch(self) -> None:
        """Record that this call was let in and needs the token."""
        self._wire.vouch()

    def preflight(self, headers: Headers) -> None:
        """Answer a preflight: nothing but these headers."""
        self.started = self.finished = True
        self._wire.write(self._head(204, headers, shared=False))

    def respond(self, status: int, headers: Headers = (), body: bytes = b"", *, length: int | None = None) -> None:
        """Send a whole response; `length` is what Content-Length says if that is not the body's own."""
        self.started = self.finished = True
        size = len(body) if length is None else length
        length_header = () if status in (204, 304) else (("Content-Length", str(size)),)
        if self.head.method == "HEAD":
            body = b""  # its length is told all the same
        self._wire.write(self._head(status, (*headers, *length_header)) + body)

    def begin(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """Start a streamed response; its head travels with the first part. So many bytes follow, if it is known.

        To HEAD nothing follows, and a length that is not known is left out.
        """
        self.started = True
        headed = self.head.method == "HEAD"
        self._chunked = self.head.http11 and length is None and not headed
        if length is not None:
            headers = (*headers, ("Content-Length", str(length)))
        elif headed:
            pass
        elif self._chunked:
            headers = (*headers, ("Transfer-Encoding", "chunked"))
        else:
            self.keep_alive = False
        self._pending = self._head(status, headers)

    def may_begin(self, begin: Callable[[Exchange], None]) -> None:
        """Announce that the response will be a stream; `begin` begins it, should that be due before its first part."""
        self._begin_early = begin
        if self.half_closed:
            self._probe()

    def half_close(self) -> None:
        """Probe the peer, which has sent its end, once this is what the connection answers.

        It may still read, or be gone: then what it is sent is reset. What is not answered soon has an interim response.
        """
        self.half_closed = True
        self._probe()
        if not self.started:
            asyncio.get_running_loop().call_later(_INTERIM_S, self._probe_by_interim)

    def probe_again(self) -> None:
        """Probe once more if nothing was sent since; the connection calls this every few seconds.

        A peer that closes later sends nothing, and for a minute its kernel acknowledges what is not new: FIN_WAIT2.
        """
        if self.started:
            self._probe()
        else:
            self._probe_by_interim()

    def _probe_by_interim(self) -> None:
        # RFC 9110, section 15.2: a client of HTTP/1.1 takes one, or several, also without having asked.
        if not self.started and self.head.http11 and self._probes < _PROBES:
            self._probes += 1
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _probe(self) -> None:
        """Send what says nothing yet, if anything can be: the head of a stream, or a zero before the next chunk's size.

        RFC 9112, section 7.1, has a size begin with any number of zeros.
        """
        if not self.started and self._begin_early is not None:
            self._begin_early(self)
        if self.finished or not self.started or self._held or self._probes >= _PROBES:
            return
        self._probes += 1
        head, self._pending = self._pending, b""
        if probe := head or (b"0" if self._chunked else b""):
            self._wire.write(probe)

    def write(self, pieces: Sequence[bytes | memoryview], *, soon: bool = False) -> None:
        """Send a part of a streamed response; follow it with `drain`.

        With `soon` it may wait for the end of the loop's turn, so that small parts that come together travel together.
        """
        self._held += self._chunk(pieces)
        if not soon or len(self._held) > _HELD_BYTES:
            self._flush()
        elif not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._held:
            held, self._held = self._held, b""
            self._wire.write(held)

    async def drain(self) -> None:
        """Wait until the kernel has taken all that was written."""
        await self._wire.drain()

    async def send_file(self, fd: int, offset: int, count: int, settle: Settle) -> None:
        """Send a part that is in a file; the response was begun with a length."""
        self._held += self._chunk(())
        self._flush()
        await self._wire.drain()
        await self._wire.send_file(fd, offset, count, settle)

    def finish(self, pieces: Sequence[bytes]) -> None:
        """Send the last part of a streamed response and end it."""
        self.finished = True
        if pieces or self._pending:
            self._held += self._chunk(pieces)
        self._held += b"0\r\n\r\n" if self._chunked else b""
        self._flush()

    @property
    def unread_at_most(self) -> int:
        """So many bytes that count as consumed the peer may not have read."""
        return self._wire.acks.unread_at_most

    def marks(self) -> Marks:
        """Return a fresh record of which positions have been written, acknowledged and consumed."""
        return Marks(self._wire.acks)

    def _chunk(self, pieces: Sequence[bytes | memoryview]) -> bytes:
        head, self._pending = self._pending, b""
        self._probes = 0
        if not self._chunked:
            return b"".join([head, *pieces])
        size = sum(map(len, pieces))
        if not size:
            return head  # an empty chunk would be the last one
        return b"".join([head, b"%x\r\n" % size, *pieces, b"\r\n"])

    def _head(self, status: int, headers: Headers, *, shared: bool = True) -> bytes:
        if not self.body.complete:
            self.keep_alive = False  # its rest may be too long to skip, and a close has to be announced; RFC 9112, 9.6
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}"]
        if shared and not self.foreign:
            headers = (*headers, *response_headers(self.head.headers))
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"Date: {_http_date(int(time.time()))}")
        if not self.keep_alive:
            lines.append("Connection: close")
        elif not self.head.http11:
            lines.append("Connection: keep-alive")  # a 1.0 client would wait for the close; RFC 9112, appendix C.2.2
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@functools.lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    """Format a time as RFC 9110 section 5.6.7 asks, whatever the locale."""
    t = time.gmtime(second)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
