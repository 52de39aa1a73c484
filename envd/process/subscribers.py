"""Who follows a program, how far each of them surely is, and which bytes must not go because of that."""

from __future__ import annotations

import time
from collections.abc import Callable

from .events import Position
from .expected import Absent, Expected, Waits
from .ledger import Ledger
from .subscription import Subscription

_RECEIPTS = 4


class Subscribers:
    """The followers of one program, and those expected back.

    Args:
        ledger: remembers, also for a later server, what was taken, how many follow or are expected back, and how long
            they pause.
        waits: how long one is waited for.

    Attributes:
        expected: those whose connection broke.
    """

    def __init__(self, ledger: Ledger, waits: Waits) -> None:
        self._ledger = ledger
        self._waits = waits
        self._followers: set[Subscription] = set()
        self._receipts: list[Callable[[], object]] = []
        self.expected = Expected()

    def __len__(self) -> int:
        return len(self._followers)

    def join(self, follower: Subscription) -> None:
        """Add a follower; it may be one that was expected back."""
        self._followers.add(follower)
        self.expected.welcome(follower)
        self.note_followed()

    def leave(self, follower: Subscription, *, to_lose: bool) -> float:
        """Remove a follower; what it read last may still be on its way to the peer.

        Args:
            follower: the one that leaves.
            to_lose: there are bytes that would go if it was not expected back.

        Returns:
            For how many seconds it is; 0 if it is not.
        """
        self._followers.discard(follower)
        self.collect_receipts()
        self._receipts.append(follower.acknowledged)
        self._note_pause(follower)
        grace_s = self._grace_s(follower) if to_lose else 0.0
        if grace_s:
            self.expected.add(
                Absent(
                    held=follower.consumed_position(),
                    handed=follower.position,
                    read_to=follower.acknowledged_position(),
                    until=time.monotonic() + grace_s,
                    resumes=follower.resumes,
                )
            )
        self.note_followed()
        return grace_s

    def _grace_s(self, follower: Subscription) -> float:
        """Return how long a follower that has just left is waited for.

        Not at all if others had given it up, or if its client cannot name its place and has not read for the stall
        deadline: that is no client that reads.
        """
        if follower.given_up or (not follower.resumes and follower.idle_s > self._waits.stall_s):
            return 0.0
        return self._waits.for_return(max(self._ledger.pause_s, follower.idle_s))

    def note_followed(self) -> None:
        """Write down how many follow or are expected back: a later server waits for so many."""
        self._ledger.set_followed(len(self._followers) + len(self.expected))

    def wake(self) -> None:
        """Have all followers look again."""
        for follower in self._followers:
            follower.wake()

    def nudge(self) -> None:
        """Have all followers look for something else than output."""
        for follower in self._followers:
            follower.nudge()

    # What was taken.

    def untaken(self) -> Position:
        """Return the place behind everything that some follower's peer surely has."""
        self.collect_receipts()
        best = list(self._ledger.taken)
        for follower in self._followers:
            best = [max(pair) for pair in zip(best, follower.acknowledged_position(), strict=True)]
        return best[0], best[1], best[2]

    def collect_receipts(self) -> None:
        """Ask once more how far those who left had got."""
        for receipt in self._receipts:
            self.note_taken(receipt())
        del self._receipts[:-_RECEIPTS]

    def note_taken(self, acknowledged: object) -> None:
        """Remember how far a follower's peer has acknowledged; a Position or None."""
        if isinstance(acknowledged, tuple) and any(
            mine > known for mine, known in zip(acknowledged, self._ledger.taken, strict=True)
        ):
            self._ledger.take(acknowledged)

    def note_progress(self, follower: Subscription) -> None:
        """Remember how far a follower has come and how long it pauses."""
        self.note_taken(follower.acknowledged())
        self._note_pause(follower)

    def _note_pause(self, follower: Subscription) -> None:
        if follower.longest_pause_s > self._ledger.pause_s:
            self._ledger.set_pause(follower.longest_pause_s)

    # What is held back.

    def _holders(self) -> list[Subscription]:
        """Return the followers the program waits for.

        One that has not read for the stall deadline, while another one has been waiting for more that long, is given up
        until it reads again. If nobody else is left it is waited for, as behind any pipe.
        """
        kept_waiting = [follower.caught_up_at for follower in self._followers if follower.caught_up_at is not None]
        if kept_waiting:
            since, late = min(kept_waiting), time.monotonic() - self._waits.stall_s
            for follower in self._followers:
                if follower.caught_up_at is None and max(follower.progress_at, since) <= late:
                    follower.given_up = True
        return [follower for follower in self._followers if not follower.given_up] or list(self._followers)

    def read_to(self, stream: int) -> int | None:
        """Return up to where everybody the program waits for has read a stream; None if it waits for nobody."""
        places = [follower.offsets[stream] for follower in self._holders()]
        places.extend(absent.read_to[stream] for absent in self.expected.now())
        return min(places, default=None)

    def received(self, *, memory_is_short: bool, unread_bytes: int | None = None) -> list[Position]:
        """Return how far the peers of those the program waits for have received.

        What a follower was handed may still be in buffers of ours, of a kernel or of the peer's library, and is lost if
        its connection breaks. So memory is freed by this, while `read_to` decides whether the program has to wait. When
        memory is short, what the peer's kernel has must do; before that, `unread_bytes` behind it.
        """
        absent, holders = self.expected.now(), self._holders()
        if memory_is_short:
            return [*(one.read_to for one in absent), *(one.acknowledged_position() for one in holders)]
        return [*(one.held for one in absent), *(one.consumed_position(unread_bytes) for one in holders)]

    def expect_starter(self) -> float:
        """Wait a moment for whoever had the program started; return the seconds."""
        self.expected.add_starter(time.monotonic() + self._waits.return_s)
        self.note_followed()
        return self._waits.return_s

    def expect_return_after_kill(self) -> float:
        """Wait a moment for those who followed when the server was killed; return the seconds, 0 if nobody did.

        How much they had consumed is not known any more: whatever is kept stays.
        """
        if not self._ledger.followed:
            return 0.0
        grace_s = self._waits.after_kill(self._ledger.pause_s)
        self.expected.add_unknown(self._ledger.followed, self._ledger.taken, time.monotonic() + grace_s)
        return grace_s
