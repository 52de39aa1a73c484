"""A process's output: its streams, pumped into journals for its subscribers.

A send never happens under the pump: subscribers are cursors, and a slow one lags. See envd.process.subscribers for what
a lagging subscriber may hold back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from envd.config import Output

from .events import STREAMS, Position
from .journal_budget import JournalBudget
from .ledger import Ledger
from .stream import Stream
from .subscribers import Subscribers
from .subscription import Receipts, Subscription

log = logging.getLogger("envd.process")

_FREE_ROOM_BYTES = 1024 * 1024
_RESUME_BYTES = 64 * 1024
_RETRY_S = 1.0


class Finished(NamedTuple):
    """Bytes kept of each stream of a finished process: `keep`, or up to `untaken` of what nobody has taken."""

    keep: int
    untaken: int


class ProcessOutput:
    """All streams of one process. Owns their descriptors.

    Args:
        streams: by number (STDOUT, STDERR, PTY).
        config: how long a subscriber is waited for.
        closed: called when a stream has ended.
    """

    def __init__(
        self,
        streams: Mapping[int, Stream],
        ledger: Ledger,
        pool: JournalBudget,
        config: Output,
        closed: Callable[[], None],
    ) -> None:
        self.streams = streams
        self.ledger = ledger
        self.subscribers = Subscribers(ledger, config)
        self.last_byte_at = time.monotonic()
        self._pool = pool
        self._recheck_s = config.stall_s / 10
        self._closed = closed
        self._recheck: asyncio.TimerHandle | None = None
        self._finished: Finished | None = None
        # A process's command is kept as long: in the ledger, as text, and as what was parsed from it.
        self._weight = 3 * len(ledger.metadata)
        pool.count(self.kept + self._weight)

    # What there is.

    @property
    def ends(self) -> list[int]:
        """Length of each stream so far."""
        return [self.streams[n].journal.end if n in self.streams else 0 for n in range(STREAMS)]

    @property
    def position(self) -> Position:
        """Length of each stream so far."""
        ends = self.ends
        return ends[0], ends[1], ends[2]

    @property
    def heads(self) -> list[int]:
        """First byte kept of each stream."""
        return [self.streams[n].journal.head if n in self.streams else 0 for n in range(STREAMS)]

    @property
    def kept(self) -> int:
        """Bytes kept."""
        return sum(stream.journal.kept for stream in self.streams.values())

    @property
    def open(self) -> bool:
        """True while somebody can still print."""
        return any(stream.open for stream in self.streams.values())

    @property
    def waiting(self) -> bool:
        """True while the process may be held up by a subscriber that does not read."""
        return any(stream.paused for stream in self.streams.values())

    def next_piece(self, segment: int, offsets: list[int]) -> tuple[int, int, int] | None:
        """Find what comes next for a reader at `offsets`; see Ledger.next_piece."""
        return self.ledger.next_piece(segment, offsets, self.ends)

    def read(self, stream: int, offset: int, size: int) -> bytes:
        """Return bytes of a stream, at most `size`."""
        return self.streams[stream].journal.read(offset, size)

    def leader_ended(self) -> None:
        """Pump the last output of the process itself, which has ended, as far as subscribers leave room."""
        for stream in self.streams.values():
            stream.leader_ended()
            self._take_last_words(stream)

    def _take_last_words(self, stream: Stream) -> None:
        """Pump until everything is in that was there, and once more, which finds the stream's end if it has one."""
        last = False
        while stream.open and not stream.paused and not last:
            last = stream.said_all
            if not self._pump(stream):
                return

    @property
    def said_all(self) -> bool:
        """True if everything that was printed before `leader_ended` is in."""
        return all(stream.said_all for stream in self.streams.values())

    def held_names(self) -> set[str]:
        """Return what is still open for printing, as /proc/PID/fd shows it."""
        return set().union(*(stream.held_names() for stream in self.streams.values() if stream.open))

    # Pumping.

    def start(self) -> None:
        """Begin to pump."""
        for stream in self.streams.values():
            if stream.open:
                self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        stream.watch(partial(self._pump, stream))

    def _pump(self, stream: Stream) -> int:
        """Move bytes of one stream to its journal; return how many."""
        room = self._room(stream)
        if room <= 0:
            self._pause(stream)
            return 0
        ends = self.ends
        try:
            moved = stream.splice(room)
        except BlockingIOError:
            return 0
        except OSError as exc:
            # No memory for the journal, say. The bytes stay where they are, and the process waits.
            log.warning("cannot take output, trying again", extra={"error": os.strerror(exc.errno or 0)})
            self._pause(stream)
            self._go_on_after(_RETRY_S)
            return 0
        if moved == 0:
            stream.close()
            self._closed()
            return 0
        self.ledger.arrived(stream.number, ends)
        self._arrived(stream, moved)
        return moved

    def _arrived(self, stream: Stream, moved: int) -> None:
        self.last_byte_at = time.monotonic()
        self.subscribers.wake()
        keep = self._keep(stream)
        if stream.journal.kept > keep + max(keep // 4, _RESUME_BYTES):
            self.trim()
        self._pool.count(moved)

    def _pause(self, stream: Stream) -> None:
        stream.unwatch()
        stream.paused = True
        self._check_later()

    def _check_later(self) -> None:
        """Look again after a while: whether one of several subscribers has stopped shows only by time passing."""
        if self._recheck is None and self.waiting and len(self.subscribers) > 1:
            self._recheck = asyncio.get_running_loop().call_later(self._recheck_s, self._check_again)

    def _check_again(self) -> None:
        self._recheck = None
        self.resume()
        self._check_later()

    def resume(self) -> None:
        """Pump on where subscribers leave room again."""
        for stream in self.streams.values():
            if stream.paused and self._room(stream) >= _RESUME_BYTES:
                stream.paused = False
                self._watch(stream)

    def say(self, number: int, data: bytes) -> None:
        """Add bytes of our own to a stream."""
        self.ledger.arrived(number, self.ends)
        self.streams[number].journal.append(data)
        self._pool.count(len(data))

    # What is kept.

    def _keep(self, stream: Stream) -> int:
        """Return how many bytes of a stream are kept."""
        if self._finished is None:
            return self._pool.keep_live
        nobody_took = stream.journal.end - self.ledger.taken[stream.number]
        return max(self._finished.keep, min(nobody_took, self._finished.untaken, self._pool.keep_live))

    def _room(self, stream: Stream) -> int:
        """Return how many bytes may be added before one that somebody is waited for to read would have to go."""
        read_to = self.subscribers.read_to(stream.number)
        return _FREE_ROOM_BYTES if read_to is None else read_to + self._keep(stream) - stream.journal.end

    def trim(self, at_most: int | None = None) -> None:
        """Keep at most `at_most` bytes per stream (None: what is due), but all that a subscriber's peer lacks."""
        if not self.kept:
            return
        received = self.subscribers.received(memory_is_short=self._pool.short, unread_bytes=self._pool.unread_bytes)
        for number, stream in self.streams.items():
            keep = self._keep(stream) if at_most is None else at_most
            to = min([stream.journal.end - keep, *(position[number] for position in received)])
            self._pool.count(-stream.journal.trim(max(to, 0)))
        self.ledger.forget_before(self.heads)

    def settle(self, finished: Finished) -> None:
        """Keep less from now on: the process has ended."""
        self._finished = finished
        self.subscribers.collect_receipts()
        self.trim()

    # Following.

    def follow(
        self, position: Position | None, *, gaps: bool, receipts: Receipts, resumes: bool | None = None
    ) -> Subscription:
        """Begin to follow: at a position, or with what nobody has taken yet.

        Args:
            position: where to begin, None for what nobody has taken.
            gaps: the client understands that bytes are missing.
            receipts: tell how far the peer has what was handed out; also asked later.
            resumes: it names its place if its connection breaks; None if it does so as it understands gaps.

        Raises:
            EnvdError: OUT_OF_RANGE if the position lies beyond what was printed.
        """
        begin = position or self.subscribers.untaken()
        subscription = Subscription(
            self, begin, gaps=gaps, receipts=receipts, resumes=gaps if resumes is None else resumes
        )
        if position is None and not gaps:
            subscription.skip_lost()
        self.subscribers.join(subscription)
        self.resume()
        self._check_later()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Remove a subscriber.

        Its connection may have broken, and it may be back: for a moment no byte it lacks may go, so that it can go on.
        A process that prints more than the journals keep waits that long, and so do others that follow it.
        """
        to_lose = self._finished is None or self.kept > self._finished.keep
        self._go_on_after(self.subscribers.leave(subscription, to_lose=to_lose))
        if self._finished is not None:
            self.trim()
        self.resume()

    def expect_starter(self) -> None:
        """Give the client that had the process started a moment to follow it."""
        self._go_on_after(self.subscribers.expect_starter())

    def expect_subscribers(self) -> None:
        """Give the subscribers of a server that was killed a moment to come back."""
        self._go_on_after(self.subscribers.expect_return_after_kill())

    def _go_on_after(self, grace_s: float) -> None:
        if grace_s:
            asyncio.get_running_loop().call_later(grace_s, self._go_on)

    def _go_on(self) -> None:
        """Wait no longer for subscribers whose time is over."""
        self.subscribers.note_followed()
        if self._finished is not None:
            self.trim()
        self.resume()

    def close(self) -> None:
        """Close all descriptors."""
        for stream in self.streams.values():
            stream.close()
            self._pool.count(-stream.journal.kept)
            stream.journal.close()
            stream.journal.head = stream.journal.end
        self.ledger.close()
        self._pool.count(-self._weight)
