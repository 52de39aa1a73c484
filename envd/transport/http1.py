"""HTTP/1.1 on one connection: bytes to exchanges, one after the other. Source: RFC 9112."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from envd.config import Limits
from envd.errors import Code, EnvdError
from envd.logs import request_context
from envd.web import Settle

from . import peer
from .ack_tracking import AckTracker
from .admission import Admission
from .body import RequestBody
from .departures import Departures
from .exchange import Exchange
from .origins import Ingress
from .parsing import BadRequestError, Parser
from .status import plain_response
from .zero_copy import DirectSocket, File, send_file

log = logging.getLogger("envd.transport")

_request_numbers = itertools.count(1)

_PIPELINED = 64  # requests waiting behind the one being served; above that the socket is not read
_SLICE_BYTES = 16 * 1024  # of pipelined requests parsed before the queue is looked at again
_UNREAD_BYTES = 256 * 1024  # of an unread body that are skipped to keep a connection
_LINGER_S = 2.0
CONNECTION_BYTES = 6 * 1024  # of memory for one that does nothing
_REQUEST_BYTES = 1024
_CUT_SHORT = "protocol error: incomplete envelope: unexpected EOF"


class ConnectionOwner(Protocol):
    """The listener, as connections need it."""

    limits: Limits
    departures: Departures
    admission: Admission
    handle: Callable[[Exchange], Awaitable[None]]

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a connection's serving task."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""


class Connection(asyncio.Protocol):
    """Serves requests in order. A peer that goes away cancels the call it was waiting for, never more."""

    transport: asyncio.Transport
    acks: AckTracker

    def __init__(self, owner: ConnectionOwner, place: Ingress) -> None:
        self._owner = owner
        self._place = place
        self._parser = Parser(self._request, owner.limits.header_bytes)
        self._queue: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._unparsed = b""
        self._pauses: set[str] = set()
        self._blocked = False
        self._refusing = False
        self._refusal: tuple[int, str] | None = None
        self._held = 0  # bytes that came since the last time nothing was being served
        self._silent = True
        self._active_at = self._head_began_at = time.monotonic()

    # The loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a new connection, or one whose first bytes were read already."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0)  # so that "not blocked" means "all of it is in the kernel"
        self._sock = transport.get_extra_info("socket")
        self.acks = AckTracker(self._sock)

    def data_received(self, data: bytes) -> None:
        self._active_at = time.monotonic()
        if not self._parser.in_head:
            self._head_began_at = self._active_at
        self._silent = False
        self._held += len(data)
        if not self._refusing:
            self._parse(data)
        self._owner.admission.hold(self, self._holds())

    def eof_received(self) -> bool:
        """Take the peer's end: what it has sent whole is answered, what it did not finish fails. RFC 9112, section 9.6.

        A peer that sends FIN may still read; one that is gone altogether is noticed by its reset, at the latest when
        something is written to it: so streams write something at once.
        """
        if self._refusing:
            return self.busy
        last = self._queue[-1] if self._queue else self._current
        if self._parser.in_head:
            self._refuse(400, "bad request: the connection ended within the head of a request")
        elif last is None:
            return False
        else:
            last.keep_alive = False
            if not last.body.complete:
                last.body.fail(EnvdError(Code.INVALID_ARGUMENT, _CUT_SHORT))
        if not self.transport.is_closing():
            self._owner.departures.watch(self._sock.fileno(), self.transport.abort)
            for waiting in self._queue:
                waiting.half_closed = True
            if self._current is not None:
                self._current.half_close()
        return True

    def connection_lost(self, _: Exception | None) -> None:
        self._owner.departures.forget(self._sock.fileno())
        self.acks.close()
        self._let_go()
        self._parser.close()
        self._owner.lost(self)

    def _let_go(self) -> None:
        """Free what came and was not answered, and cancel the answer under way."""
        self._unparsed = b""
        for exchange in (*self._queue, *([self._current] if self._current else [])):
            exchange.body.abandon()
        self._queue.clear()
        if self._task is not None:
            # Drop it, too: its cancellation refers to frames, and these to us. With what they hold it would wait
            # for the garbage collector.
            self._task.cancel()
            self._task = None

    def _holds(self) -> int:
        """Return how much memory this connection takes, roughly and rather too much."""
        return CONNECTION_BYTES + self._held + _REQUEST_BYTES * len(self._queue)

    def vouch(self) -> None:
        """Record that a call was let in that needs the token."""
        self._owner.admission.vouch(self)

    def cut_off(self) -> None:
        """End at once, without a word.

        What is held is freed now, and not when the loop comes to it: others are read in the same turn.
        """
        self.transport.abort()
        self._let_go()

    @property
    def busy(self) -> bool:
        """True while a request is being served."""
        return self._current is not None or bool(self._queue)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self.acks.flushed()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # Reading.

    def _parse(self, data: bytes) -> None:
        """Parse what arrived; what would overfill the queue waits, and with it the socket."""
        while data and not self._refusing:
            if len(self._queue) >= _PIPELINED:
                self._unparsed = data
                self._flow("queue", paused=True)
                return
            piece = data if self._parser.in_body else data[:_SLICE_BYTES]
            data = data[len(piece) :]
            try:
                self._parser.feed(piece)
            except BadRequestError as exc:
                self._refuse(exc.status, str(exc))

    def _request(self, parsed: Parser) -> RequestBody:
        """Queue a request whose head is complete; called by the parser."""
        head = parsed.head()
        body = RequestBody(
            lambda paused: self._flow("body", paused=paused),
            self._continue,
            _length_of(head.headers),
            self._open_direct,
        )
        exchange = Exchange(self, head, body, keep_alive=parsed.keep_alive, place=self._place)
        self._queue.append(exchange)
        if self._task is None:
            self._task = self._owner.spawn(self._serve(), name="connection")
        elif self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
        return body

    def _flow(self, reason: str, *, paused: bool) -> None:
        was_paused = bool(self._pauses)
        (self._pauses.add if paused else self._pauses.discard)(reason)
        if self.transport.is_closing() or bool(self._pauses) == was_paused:
            return
        if self._pauses:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _continue(self) -> None:
        """Ask for a body whose sender waits to be asked. RFC 9110, section 10.1.1."""
        exchange = self._current
        if exchange is None or exchange.started:
            return
        if exchange.head.http11 and exchange.head.headers.get("expect", "").lower() == "100-continue":
            exchange.head.headers.pop("expect")
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Past the parser.

    def _open_direct(self) -> DirectSocket | None:
        """Stop reading, and hand out the socket for the rest of a body; None if some of that is here already.

        A newcomer does not get it: what it sends is counted as it comes, and comes at most once a turn.
        """
        if self._unparsed or self._owner.admission.is_newcomer(self):
            return None
        self._flow("direct", paused=True)
        return DirectSocket(self._sock, self._touch, self._close_direct)

    def _close_direct(self) -> None:
        if not self._refusing and not self.transport.is_closing():
            self._parser.skip_body()
        self._flow("direct", paused=False)

    def _touch(self) -> None:
        self._active_at = time.monotonic()

    async def send_file(self, fd: int, offset: int, count: int, settle: Settle) -> None:
        """Send bytes of a file; everything written before is with the kernel."""
        self.acks.writing(count)
        try:
            idle_s = self._owner.limits.body_idle_s
            await send_file(self._sock, File(fd, offset, count, settle), idle_s=idle_s, touched=self._touch)
        except ConnectionError:
            self.transport.abort()
            raise asyncio.CancelledError from None
        self.acks.flushed()

    # Serving.

    async def _serve(self) -> None:
        try:
            while await self._serve_next():
                pass
        finally:
            self._current = None

    async def _serve_next(self) -> bool:
        """Answer one request; False if the connection takes no more."""
        exchange = self._current = await self._next()
        if exchange.half_closed:
            exchange.half_close()
        await self._answer(exchange)
        if not await self._reusable(exchange):
            return False
        await self.drain()  # unread answers would pile up
        self._current = None
        self._active_at = time.monotonic()
        if not self._queue and not self._parser.in_head:
            self._held = 0
            self._owner.admission.hold(self, CONNECTION_BYTES)
        if self._queue:
            await asyncio.sleep(0)  # others have their turn: what is pipelined can be answered without a pause
        if self._refusal is None or self._queue:
            return True
        self._refuse(*self._refusal)
        return False

    async def _next(self) -> Exchange:
        while not self._queue:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        exchange = self._queue.popleft()
        if self._unparsed:
            data, self._unparsed = self._unparsed, b""
            self._parse(data)
            if not self._unparsed:
                self._flow("queue", paused=False)
        return exchange

    async def _answer(self, exchange: Exchange) -> None:
        request_context.set({"request": f"{next(_request_numbers):x}"})
        try:
            await self._owner.handle(exchange)
        except Exception:
            log.exception("handler failed", extra={"path": exchange.head.path})
        if not exchange.finished:
            self._give_up(exchange)

    def _give_up(self, exchange: Exchange) -> None:
        exchange.keep_alive = False
        if exchange.started:
            self.transport.abort()  # what was sent must not look whole
        else:
            exchange.respond(500, (("Content-Type", "text/plain; charset=utf-8"),), b"internal error\n")

    async def _reusable(self, exchange: Exchange) -> bool:
        """Make the connection ready for the next request, or close it."""
        try:
            skipped = exchange.body.complete or (exchange.keep_alive and await exchange.body.discard(_UNREAD_BYTES))
        except EnvdError:
            skipped = False
        if exchange.keep_alive and skipped:
            return True
        self._finish(linger=not exchange.body.complete)
        return False

    # Writing.

    def write(self, data: bytes) -> None:
        """Send bytes; see `drain`."""
        self.acks.writing(len(data))
        self.transport.write(data)
        if not self._blocked and not self.transport.is_closing():  # a transport that closes drops what it is given
            self.acks.flushed()

    async def drain(self) -> None:
        """Wait until the kernel has taken everything written."""
        while self._blocked:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    # Ending.

    def close(self) -> None:
        """Close, flushing what has been written."""
        self.transport.close()

    def refuse(self, status: int, message: str) -> None:
        """Answer a connection that is not served at all."""
        self._refuse(status, message)

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request, once those before it are answered, and close."""
        last = self._queue[-1] if self._queue else self._current
        if last is not None:
            self._refusing = True
            if last.body.complete:
                self._refusal = (status, message)
            else:
                last.keep_alive = False
                last.body.fail(EnvdError(Code.INVALID_ARGUMENT, message))
            return
        self.write(plain_response(status, message))
        self._finish(linger=True)

    def _finish(self, *, linger: bool) -> None:
        """Close; with `linger` read on for a moment, or the reset would overtake our answer."""
        self._refusing = True
        if not linger or not self.transport.can_write_eof():
            self.transport.close()
            return
        if self._current is not None:
            self._current.body.abandon()
        self._flow("queue", paused=False)
        self._flow("body", paused=False)
        with contextlib.suppress(OSError):  # the peer has reset the connection already
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, self.transport.abort)

    def begin_head(self) -> None:
        """Start the time limit of a request's head, of which only the first letters have arrived."""
        self._silent = False
        self._head_began_at = time.monotonic()
        self._parser.in_head = True

    def check(self, now: float) -> None:
        """Look after time limits; the listener calls this every few seconds."""
        limits = self._owner.limits
        quiet = now - self._active_at
        if self.transport.is_closing():
            if quiet > limits.idle_s:
                self.transport.abort()
        elif self._current is None and not self._queue:
            if self._parser.in_head and now - self._head_began_at > limits.header_s:
                self._refuse(408, f"request not complete after {limits.header_s:g} s")
            elif quiet > (limits.header_s if self._silent else limits.idle_s):
                self.transport.close()
        elif peer.is_dead(self._sock, limits.peer_dead_s):
            log.info("peer is gone", extra={"silence_s": limits.peer_dead_s})
            self.transport.abort()
        elif self._current is not None and self._current.awaits_body and quiet > limits.body_idle_s:
            text = f"no byte of the request body for {limits.body_idle_s:g} s"
            self._current.body.fail(EnvdError(Code.DEADLINE_EXCEEDED, text))
        elif self._current is not None and self._current.half_closed:
            self._current.probe_again()


def _length_of(headers: dict[str, str]) -> int | None:
    """Return a body's length if the head says it; RFC 9112, section 6.3."""
    text = headers.get("content-length", "")
    return int(text) if text.isdigit() and "transfer-encoding" not in headers else None
