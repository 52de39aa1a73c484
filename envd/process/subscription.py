"""Subscription: one reader of a process's output, an offset per stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from envd.errors import Code, EnvdError

from .events import STREAMS, Gap, Position, Run

_RUN_BYTES = 256 * 1024
_NAMES = ("stdout", "stderr", "pty")


class SubscriptionSource(Protocol):
    """The output a subscription reads from."""

    @property
    def ends(self) -> list[int]:
        """Length of each stream so far."""

    @property
    def heads(self) -> list[int]:
        """First byte kept of each stream."""

    def next_piece(self, segment: int, offsets: list[int]) -> tuple[int, int, int] | None:
        """Find what comes next for a reader at `offsets`; see Ledger.next_piece."""

    def read(self, stream: int, offset: int, size: int) -> bytes:
        """Return bytes of a stream, at most `size`."""

    def resume(self) -> None:
        """Go on if this reader was waited for."""


class Receipts(Protocol):
    """The places up to which a subscriber's peer has the output; None for nowhere. Callable after it has left.

    Attributes:
        acknowledged: its kernel has it.
        consumed: its application has it, so that no broken connection can cost it any more.
        unread_at_most: of what is consumed so many bytes may not be, for the wire does not say; else 0.
    """

    @property
    def acknowledged(self) -> Callable[[], object]: ...

    @property
    def consumed(self) -> Callable[[], object]: ...

    @property
    def unread_at_most(self) -> int: ...


class Subscription:
    """A cursor over a process's output. Holds nothing but offsets: the bytes stay in the journals.

    Attributes:
        offsets: bytes of each stream already handed out.
        progress_at: when it last took something, or got something to take (monotonic seconds).
        caught_up_at: since when it has had nothing to take, None while it has.
        given_up: True if others no longer wait for it; until it takes something.
        longest_pause_s: the longest time it has left something untaken.
        resumes: its client names its place when it comes back.
        acknowledged: see Receipts.
    """

    def __init__(
        self, source: SubscriptionSource, position: Position, *, gaps: bool, receipts: Receipts, resumes: bool
    ) -> None:
        for name, offset, end in zip(_NAMES, position, source.ends, strict=True):
            if offset > end:
                raise EnvdError(
                    Code.OUT_OF_RANGE, f"cannot resume at byte {offset} of {name}: it has {end} bytes so far"
                )
        self._source = source
        self._gaps = gaps
        self._segment = 0
        self._waiter: asyncio.Future[bool] | None = None
        self._begin = position
        self.acknowledged = receipts.acknowledged
        self._consumed = receipts.consumed
        self._unread_at_most = receipts.unread_at_most if gaps else 0
        self.offsets = list(position)
        self.progress_at = time.monotonic()
        self.caught_up_at: float | None = None
        self.given_up = False
        self.longest_pause_s = 0.0
        self.resumes = resumes

    @property
    def idle_s(self) -> float:
        """For how long there has been something that it does not take."""
        return 0.0 if self.caught_up_at is not None else time.monotonic() - self.progress_at

    @property
    def position(self) -> Position:
        """The place behind everything handed out."""
        return self.offsets[0], self.offsets[1], self.offsets[2]

    def acknowledged_position(self) -> Position:
        """Return the place up to which the peer's kernel has everything."""
        acknowledged = self.acknowledged()
        return acknowledged if isinstance(acknowledged, tuple) else self._begin

    def consumed_position(self, unread_bytes: int | None = None) -> Position:
        """Return the place up to which the peer's application surely has everything.

        Args:
            unread_bytes: suppose no more than this to lie unread in kernels on the way, where the wire does not say.
        """
        consumed = self._consumed()
        if not isinstance(consumed, tuple):
            return self._begin
        unread = self._unread_at_most if unread_bytes is None else min(self._unread_at_most, unread_bytes)
        position = [max(begin, end - unread) for begin, end in zip(self._begin, consumed, strict=True)]
        return position[0], position[1], position[2]

    def skip_lost(self) -> None:
        """Move over what is no longer kept, without a word."""
        self.offsets = [max(pair) for pair in zip(self.offsets, self._source.heads, strict=True)]

    def take(self) -> Run | Gap | None:
        """Return what comes next, None if everything was taken.

        Raises:
            EnvdError: DATA_LOSS if bytes it had not read are gone and its client knows no gap event.
        """
        gap = self._gap()
        if gap is not None:
            return gap
        piece = self._source.next_piece(self._segment, self.offsets)
        if piece is None:
            self.caught_up_at = self.caught_up_at or time.monotonic()
            return None
        self._segment, stream, end = piece
        offset = self.offsets[stream]
        data = self._source.read(stream, offset, min(end - offset, _RUN_BYTES))
        self.offsets[stream] = offset + len(data)
        self.longest_pause_s = max(self.longest_pause_s, self.idle_s)
        self.progress_at = time.monotonic()
        self.given_up = False
        self._source.resume()
        return Run(stream, offset, data, self.position)

    def _gap(self) -> Gap | None:
        heads = self._source.heads
        for stream in range(STREAMS):
            begin, end = self.offsets[stream], heads[stream]
            if begin >= end:
                continue
            if not self._gaps:
                raise EnvdError(
                    Code.DATA_LOSS,
                    f"bytes {begin} to {end} of {_NAMES[stream]} are gone: this reader had stopped while others went "
                    f"on. Connect again with resume.{_NAMES[stream]} = {end}",
                )
            self.offsets[stream] = end
            return Gap(stream, begin, end)
        return None

    async def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; False if `timeout_s` passed first."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self._time_out, self._waiter)
        try:
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    @staticmethod
    def _time_out(waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            waiter.set_result(False)

    def wake(self) -> None:
        """Look again: there is something to take, or the end."""
        if self.caught_up_at is not None:
            self.caught_up_at = None
            self.progress_at = time.monotonic()
        self.nudge()

    def nudge(self) -> None:
        """Have the subscriber look again, though there may be nothing to take."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)
