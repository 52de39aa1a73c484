"""Who follows a program, how far each of them surely is, and which bytes must not go because of that."""

from __future__ import annotations

import time
from collections.abc import Callable

from .events import BEGINNING, Position
from .follower import Follower
from .ledger import Ledger

_STOPPED_S = 0.3
_RETURN_S = 5.0
_RETURN_AFTER_KILL_S = 10.0
_RECEIPTS = 4


class Audience:
    """The followers of one program, and those expected back.

    Args:
        ledger: remembers, also for a later server, what was taken and whether anybody follows or is expected back.
        stall_s: how long followers that read wait for one that has stopped.
    """

    def __init__(self, ledger: Ledger, stall_s: float) -> None:
        self._ledger = ledger
        self._stall_s = stall_s
        self._followers: set[Follower] = set()
        self._receipts: list[Callable[[], object]] = []
        self._expected: Position = BEGINNING
        self._held: Position = BEGINNING
        self._expected_until = 0.0

    def __len__(self) -> int:
        return len(self._followers)

    def join(self, follower: Follower) -> None:
        """Add a follower; whoever was expected back is here."""
        self._followers.add(follower)
        self._expected_until = 0.0
        self._ledger.set_followed(followed=True)

    def leave(self, follower: Follower) -> None:
        """Remove a follower; what it read last may still be on its way to the peer."""
        self._followers.discard(follower)
        self.collect_receipts()
        self._receipts.append(follower.acknowledged)
        if not self._followers:
            self._ledger.set_followed(followed=False)

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

    # What is held back.

    def _holders(self) -> list[Follower]:
        """Return the followers the program waits for.

        One that has not read for the stall deadline, while another one has been waiting for more that long, is given up
        until it reads again. If nobody else is left it is waited for, as behind any pipe.
        """
        kept_waiting = [follower.caught_up_at for follower in self._followers if follower.caught_up_at is not None]
        if kept_waiting:
            since, late = min(kept_waiting), time.monotonic() - self._stall_s
            for follower in self._followers:
                if follower.caught_up_at is None and max(follower.progress_at, since) <= late:
                    follower.given_up = True
        return [follower for follower in self._followers if not follower.given_up] or list(self._followers)

    def read_to(self, stream: int) -> int | None:
        """Return up to where everybody the program waits for has read a stream; None if it waits for nobody."""
        holders = self._holders()
        if holders:
            return min(follower.offsets[stream] for follower in holders)
        return self._expected[stream] if self._expecting else None

    def received(self, *, memory_is_short: bool) -> list[Position]:
        """Return how far the peers of those the program waits for have received.

        What a follower was handed may still be in buffers of ours, of a kernel or of the peer's library, and is lost if
        its connection breaks. So memory is freed by this, while `read_to` decides whether the program has to wait. When
        memory is short, what the peer's kernel has must do.
        """
        if self._expecting:
            return [self._expected if memory_is_short else self._held]
        if memory_is_short:
            return [follower.acknowledged_position() for follower in self._holders()]
        return [follower.consumed_position() for follower in self._holders()]

    def has_stopped(self, follower: Follower) -> bool:
        """Tell whether a follower has not read for a moment."""
        return follower.caught_up_at is None and time.monotonic() - follower.progress_at > _STOPPED_S

    def expect_return(self, follower: Follower) -> float:
        """Wait a moment for one that lost its connection, perhaps not its interest; return the seconds."""
        return self._expect(follower.acknowledged_position(), follower.consumed_position(), _RETURN_S)

    def expect_return_after_kill(self) -> float:
        """Wait a moment for those who followed when the server was killed; return the seconds, 0 if nobody did.

        How much they had consumed is not known any more: whatever is kept stays.
        """
        return self._expect(self._ledger.taken, BEGINNING, _RETURN_AFTER_KILL_S) if self._ledger.followed else 0.0

    def _expect(self, read_to: Position, held: Position, grace_s: float) -> float:
        self._expected, self._held, self._expected_until = read_to, held, time.monotonic() + grace_s
        self._ledger.set_followed(followed=True)
        return grace_s

    def stop_expecting(self) -> None:
        """Take note that nobody is expected any more, if the time is over and nobody came."""
        if not self._followers and not self._expecting:
            self._ledger.set_followed(followed=False)

    @property
    def _expecting(self) -> bool:
        return not self._followers and time.monotonic() < self._expected_until
