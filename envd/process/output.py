"""A program's output: its pipes pumped into journals, and the followers that read from them.

A send never happens under the pump. A follower is a cursor; who is slow lags. What a lagging follower may hold back is
decided here and nowhere else: see `_room`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
import time
from collections.abc import Callable

from .events import STREAMS, Position
from .follower import Follower
from .journal import Journal
from .ledger import Ledger
from .pool import Pool

_SPLICE_BYTES = 1024 * 1024
_BUSY_PIPE_BYTES = 256 * 1024
_PIPE_BYTES = 64 * 1024
_RESUME_BYTES = 64 * 1024


def _nothing() -> object:
    return None


class Stream:
    """One output stream: its journal and, until its end, the pipe it comes from (-1 afterwards)."""

    __slots__ = ("journal", "paused", "pipe", "widened")

    def __init__(self, journal: Journal, pipe: int) -> None:
        self.journal = journal
        self.pipe = pipe
        self.paused = False
        self.widened = False


class Output:
    """All streams of one program. Owns their descriptors.

    Args:
        streams: by number (STDOUT, STDERR, PTY).
        stall_s: how long followers that read wait for one that has stopped.
        closed: called when a pipe has ended.
    """

    def __init__(
        self, streams: dict[int, Stream], ledger: Ledger, pool: Pool, stall_s: float, closed: Callable[[], None]
    ) -> None:
        self.streams = streams
        self.ledger = ledger
        self._pool = pool
        self._stall_s = stall_s
        self._closed = closed
        self._followers: set[Follower] = set()
        self._receipts: list[Callable[[], object]] = []
        self._recheck: asyncio.TimerHandle | None = None
        self._orphan_until = 0.0
        self.keep: int | None = None
        self.last_byte_at = time.monotonic()
        pool.count(sum(stream.journal.kept for stream in streams.values()))

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
        """True while somebody can still write to a pipe."""
        return any(stream.pipe >= 0 for stream in self.streams.values())

    @property
    def waiting(self) -> bool:
        """True while the program may be held up by a follower that does not read."""
        return any(stream.paused for stream in self.streams.values())

    @property
    def followed(self) -> bool:
        """True while somebody follows."""
        return bool(self._followers)

    def pending(self) -> Position:
        """Return where each stream will be once what its pipe holds now has been read."""
        ends = self.ends
        for number, stream in self.streams.items():
            if stream.pipe >= 0:
                ends[number] += struct.unpack("i", fcntl.ioctl(stream.pipe, termios.FIONREAD, b"\0\0\0\0"))[0]
        return ends[0], ends[1], ends[2]

    def pipe_inodes(self) -> list[int]:
        """Return the inode numbers of the pipes still open."""
        return [os.fstat(stream.pipe).st_ino for stream in self.streams.values() if stream.pipe >= 0]

    # Pumping.

    def start(self) -> None:
        """Begin to pump."""
        for stream in self.streams.values():
            if stream.pipe >= 0:
                self._watch(stream)

    def _watch(self, stream: Stream) -> None:
        number = next(n for n, s in self.streams.items() if s is stream)
        asyncio.get_running_loop().add_reader(stream.pipe, self._pump, number, stream)

    def pump_now(self) -> None:
        """Take what the pipes hold, as far as followers leave room, without waiting for the loop to notice."""
        for number, stream in self.streams.items():
            while stream.pipe >= 0 and not stream.paused and self._pump(number, stream):
                pass

    def _pump(self, number: int, stream: Stream) -> int:
        """Move bytes of one stream from its pipe to its journal; return how many."""
        room = self._room(number, stream.journal)
        if room <= 0:
            self._pause(stream)
            return 0
        ends = self.ends
        try:
            moved = stream.journal.splice_from(stream.pipe, min(room, _SPLICE_BYTES))
        except BlockingIOError:
            return 0
        if moved == 0:
            self._end_of_pipe(stream)
            return 0
        self.ledger.arrived(number, ends)
        self._arrived(stream, moved)
        return moved

    def _arrived(self, stream: Stream, moved: int) -> None:
        self.last_byte_at = time.monotonic()
        for follower in self._followers:
            follower.wake()
        self._trim(stream.journal)
        self._pool.count(moved)
        if moved >= _PIPE_BYTES and not stream.widened:
            stream.widened = True
            with contextlib.suppress(OSError):  # the user's share of pipe memory is used up
                fcntl.fcntl(stream.pipe, fcntl.F_SETPIPE_SZ, _BUSY_PIPE_BYTES)

    def _end_of_pipe(self, stream: Stream) -> None:
        asyncio.get_running_loop().remove_reader(stream.pipe)
        os.close(stream.pipe)
        stream.pipe = -1
        self._closed()

    def _pause(self, stream: Stream) -> None:
        asyncio.get_running_loop().remove_reader(stream.pipe)
        stream.paused = True
        if self._recheck is None and len(self._followers) > 1:
            self._recheck = asyncio.get_running_loop().call_later(self._stall_s / 10, self._check_again)

    def _check_again(self) -> None:
        self._recheck = None
        self.resume()
        if self.waiting and len(self._followers) > 1:
            self._recheck = asyncio.get_running_loop().call_later(self._stall_s / 10, self._check_again)

    def resume(self) -> None:
        """Pump on where followers leave room again."""
        for number, stream in self.streams.items():
            if stream.paused and self._room(number, stream.journal) >= _RESUME_BYTES:
                stream.paused = False
                self._watch(stream)

    # What followers hold back.

    def _holders(self) -> list[Follower]:
        """Return the followers the program waits for.

        One that has not read for the stall deadline is not waited for while another one does. If none of them reads,
        all are: then nobody is held up but the program, as behind any pipe.
        """
        if len(self._followers) < 2:
            return list(self._followers)
        late = time.monotonic() - self._stall_s
        reading = [follower for follower in self._followers if follower.waiting or follower.progress_at > late]
        return reading or list(self._followers)

    def _keep(self) -> int:
        return self._pool.keep_live if self.keep is None else self.keep

    def _room(self, number: int, journal: Journal) -> int:
        """Return how many bytes may be added before one that somebody waits for would have to go."""
        holders = self._holders()
        if holders:
            held = min(follower.offsets[number] for follower in holders)
        elif time.monotonic() < self._orphan_until:
            held = self.ledger.taken[number]
        else:
            return _SPLICE_BYTES
        return held + self._keep() - journal.end

    def _trim(self, journal: Journal) -> None:
        keep = self._keep()
        if journal.kept > keep + max(keep // 4, _RESUME_BYTES):
            self.trim(keep)

    def trim(self, keep: int) -> None:
        """Keep at most `keep` bytes per stream, but all that a follower's peer does not have yet.

        What a follower was handed may still be in buffers of ours or the kernel's, and is lost if the connection
        breaks: it goes only when the peer has acknowledged it.
        """
        places = [follower.acknowledged_position() for follower in self._holders()]
        if not places and time.monotonic() < self._orphan_until:
            places = [self.ledger.taken]
        for number, stream in self.streams.items():
            to = min([stream.journal.end - keep, *(place[number] for place in places)])
            self._pool.count(-stream.journal.trim(max(to, 0)))
        self.ledger.forget_before(self.heads)

    def settle(self, keep: int, untaken: int) -> None:
        """From now on keep at most `keep` bytes per stream, and for now up to `untaken` of those nobody has taken."""
        self.keep = keep
        self._collect_receipts()
        for number, stream in self.streams.items():
            nobody_took = stream.journal.end - self.ledger.taken[number]
            keep = max(keep, min(nobody_took, untaken))
        self.trim(keep)

    # Following.

    def follow(
        self, position: Position | None, *, gaps: bool, acknowledged: Callable[[], object] = _nothing
    ) -> Follower:
        """Begin to follow: at a position, or with what nobody has taken yet.

        Args:
            position: where to begin, None for what nobody has taken.
            gaps: whether the client understands that bytes are missing.
            acknowledged: tells how far the peer surely has what was handed out (a Position or None); also called later.

        Raises:
            EnvdError: OUT_OF_RANGE if the position lies beyond what was printed.
        """
        follower = Follower(self, position or self._untaken(), gaps=gaps, acknowledged=acknowledged)
        if position is None:
            follower.skip_lost()
        self._followers.add(follower)
        self.ledger.set_followed(followed=True)
        self._orphan_until = 0.0
        self.resume()
        return follower

    def _untaken(self) -> Position:
        """Return the place behind everything that some follower has, or is about to have."""
        self._collect_receipts()
        best = list(self.ledger.taken)
        for follower in self._followers:
            best = [max(pair) for pair in zip(best, follower.offsets, strict=True)]
        return best[0], best[1], best[2]

    def _collect_receipts(self) -> None:
        for receipt in self._receipts:
            self.note_taken(receipt())
        del self._receipts[:-4]

    def note_taken(self, acknowledged: object) -> None:
        """Remember how far a follower's peer has acknowledged; it may be a Position or None."""
        if isinstance(acknowledged, tuple) and any(
            mine > known for mine, known in zip(acknowledged, self.ledger.taken, strict=True)
        ):
            self.ledger.take(acknowledged)

    def left(self, follower: Follower) -> None:
        """Take note that a follower is gone; what it read last may still be on its way to the peer."""
        self._followers.discard(follower)
        self._collect_receipts()
        self._receipts.append(follower.acknowledged)
        if not self._followers:
            self.ledger.set_followed(followed=False)
        if self.keep is not None:
            self.trim(self.keep)
        self.resume()

    def expect_followers(self, grace_s: float) -> None:
        """Give those who followed when the server was killed a moment to come back before bytes they lack may go."""
        if self.ledger.followed:
            self._orphan_until = time.monotonic() + grace_s
            asyncio.get_running_loop().call_later(grace_s, self.resume)

    def wake_followers(self) -> None:
        """Have all followers look again."""
        for follower in self._followers:
            follower.wake()

    def close(self) -> None:
        """Let go of all descriptors."""
        for stream in self.streams.values():
            if stream.pipe >= 0:
                asyncio.get_running_loop().remove_reader(stream.pipe)
                os.close(stream.pipe)
                stream.pipe = -1
            self._pool.count(-stream.journal.kept)
            stream.journal.close()
            stream.journal.head = stream.journal.end
        self.ledger.close()
