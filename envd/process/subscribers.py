"""The subscribers of a process: the place each of them has surely reached, and the bytes that must stay for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from envd.config import Output

from .events import Position
from .expected import Absent, Expected, return_wait_s, wait_after_kill_s
from .ledger import Ledger
from .subscription import Subscription

_RECEIPTS = 4


class Subscribers:
    """The subscribers of one process, and those expected back.

    Args:
        ledger: remembers, also for a later server, what was taken, how many follow or are expected back, and how long
            they pause.
        config: how long one is waited for.

    Attributes:
        expected: those whose connection broke.
    """

    def __init__(self, ledger: Ledger, config: Output) -> None:
        self._ledger = ledger
        self._config = config
        self._subscriptions: set[Subscription] = set()
        self._receipts: list[Callable[[], object]] = []
        self.expected = Expected()

    def __len__(self) -> int:
        return len(self._subscriptions)

    def join(self, subscription: Subscription) -> None:
        """Add a subscriber; it may be one that was expected back."""
        self._subscriptions.add(subscription)
        self.expected.welcome(subscription)
        self.note_followed()

    def leave(self, subscription: Subscription, *, to_lose: bool) -> float:
        """Remove a subscriber; what it read last may still be on its way to the peer.

        Args:
            subscription: the one that leaves.
            to_lose: there are bytes that would go if it was not expected back.

        Returns:
            For how many seconds it is; 0 if it is not.
        """
        self._subscriptions.discard(subscription)
        self.collect_receipts()
        self._receipts.append(subscription.acknowledged)
        self._note_pause(subscription)
        grace_s = self._grace_s(subscription) if to_lose else 0.0
        if grace_s:
            self.expected.add(
                Absent(
                    held=subscription.consumed_position(),
                    handed=subscription.position,
                    read_to=subscription.acknowledged_position(),
                    deadline=time.monotonic() + grace_s,
                    resumes=subscription.resumes,
                )
            )
        self.note_followed()
        return grace_s

    def _grace_s(self, subscription: Subscription) -> float:
        """Return how long a subscriber that has just left is waited for.

        Not at all if others had given it up, or if its client cannot name its place and has not read for the stall
        deadline: that is no client that reads.
        """
        if subscription.given_up or (not subscription.resumes and subscription.idle_s > self._config.stall_s):
            return 0.0
        return return_wait_s(self._config, max(self._ledger.pause_s, subscription.idle_s))

    def note_followed(self) -> None:
        """Keep the number of those that follow or are expected back: a later server waits for so many."""
        self._ledger.set_followed(len(self._subscriptions) + len(self.expected))

    def wake(self) -> None:
        """Have all subscribers look again."""
        for subscription in self._subscriptions:
            subscription.wake()

    def nudge(self) -> None:
        """Have all subscribers look for something else than output."""
        for subscription in self._subscriptions:
            subscription.nudge()

    # What was taken.

    def untaken(self) -> Position:
        """Return the place behind everything that some subscriber's peer surely has."""
        self.collect_receipts()
        best = list(self._ledger.taken)
        for subscription in self._subscriptions:
            best = [max(pair) for pair in zip(best, subscription.acknowledged_position(), strict=True)]
        return best[0], best[1], best[2]

    def collect_receipts(self) -> None:
        """Ask once more how far the subscribers that left had got."""
        for receipt in self._receipts:
            self.note_taken(receipt())
        del self._receipts[:-_RECEIPTS]

    def note_taken(self, acknowledged: object) -> None:
        """Remember how far a subscriber's peer has acknowledged; a Position or None."""
        if isinstance(acknowledged, tuple) and any(
            new > old for new, old in zip(acknowledged, self._ledger.taken, strict=True)
        ):
            self._ledger.take(acknowledged)

    def note_progress(self, subscription: Subscription) -> None:
        """Remember how far a subscriber has come and how long it pauses."""
        self.note_taken(subscription.acknowledged())
        self._note_pause(subscription)

    def _note_pause(self, subscription: Subscription) -> None:
        if subscription.longest_pause_s > self._ledger.pause_s:
            self._ledger.set_pause(subscription.longest_pause_s)

    # What is held back.

    def _holders(self) -> list[Subscription]:
        """Return the subscribers the process waits for.

        One that has not read for the stall deadline, while another one has been waiting for more that long, is given up
        until it reads again. If nobody else is left it is waited for, as behind any pipe.
        """
        kept_waiting = [
            subscription.caught_up_at for subscription in self._subscriptions if subscription.caught_up_at is not None
        ]
        if kept_waiting:
            since, late = min(kept_waiting), time.monotonic() - self._config.stall_s
            for subscription in self._subscriptions:
                if subscription.caught_up_at is None and max(subscription.progress_at, since) <= late:
                    subscription.given_up = True
        return [subscription for subscription in self._subscriptions if not subscription.given_up] or list(
            self._subscriptions
        )

    def read_to(self, stream: int) -> int | None:
        """Return up to where everybody the process waits for has read a stream; None if it waits for nobody."""
        places = [subscription.offsets[stream] for subscription in self._holders()]
        places.extend(absent.read_to[stream] for absent in self.expected.now())
        return min(places, default=None)

    def received(self, *, memory_is_short: bool, unread_bytes: int | None = None) -> list[Position]:
        """Return how far the peers of those the process waits for have received.

        Bytes that a subscriber was handed may still be in buffers of ours, of a kernel or of the peer's library, and
        are lost if its connection breaks. So memory is freed by this, while `read_to` decides whether the process has
        to wait. When memory is short, what the peer's kernel has must do; before that, `unread_bytes` behind it.
        """
        absent, holders = self.expected.now(), self._holders()
        if memory_is_short:
            return [
                *(absence.read_to for absence in absent),
                *(subscription.acknowledged_position() for subscription in holders),
            ]
        return [
            *(absence.held for absence in absent),
            *(subscription.consumed_position(unread_bytes) for subscription in holders),
        ]

    def expect_starter(self) -> float:
        """Wait a moment for the client that had the process started; return the seconds."""
        self.expected.add_starter(time.monotonic() + self._config.return_s)
        self.note_followed()
        return self._config.return_s

    def expect_return_after_kill(self) -> float:
        """Wait a moment for the subscribers of a server that was killed; return the seconds, 0 if it had none.

        How much they had consumed is not known any more: whatever is kept stays.
        """
        if not self._ledger.followed:
            return 0.0
        grace_s = wait_after_kill_s(self._config, self._ledger.pause_s)
        self.expected.add_unknown(self._ledger.followed, self._ledger.taken, time.monotonic() + grace_s)
        return grace_s
