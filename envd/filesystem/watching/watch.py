"""One watch: its tree, the events that wait, and the client that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from envd.errors import Code, EnvdError

from .events import Event, EventKind
from .fair_scheduler import FairScheduler
from .history import History
from .rescan import Deps
from .scanning import ScanStoppedError
from .slots import WatchSlot
from .tree_watcher import TreeWatcher
from .watch_log import WatchInfo, WatchLog, read_rest


@dataclass(frozen=True, slots=True)
class WatchKeepAlive:
    """Stands for a keep-alive message: no event came within the interval."""


class Watch:
    """Collects the events of one tree for one client: the subscriber of a TreeWatcher.

    Attributes:
        card: what it is; its name is unguessable.
        error: why there will be no more changes; None while there may be.
    """

    def __init__(self, card: WatchInfo, means: Deps, history: History) -> None:
        self.card = card
        self.history = history
        self.following = TreeWatcher(card.top, means, self)
        self.error: EnvdError | None = None
        self._means = means
        self._keeping: WatchLog | None = None
        self._unsaved: list[Event] = []
        self._waiter: asyncio.Future[bool] | None = None
        self._reader = 0

    # What its Following calls.

    @property
    def full(self) -> bool:
        """It can take no more for now."""
        return self.history.full

    def tell(self, kind: EventKind, name: str, state: int) -> None:
        """Take a change."""
        event = self.history.add(kind, name, state)
        if self._keeping is not None and event is not None:
            self._unsaved.append(event)

    def told(self) -> None:
        """There is no more for now."""
        self._save()
        if self._keeping is not None and self._keeping.overgrown:
            self._start_rewrite(self._keeping)
        if self.ready:
            self._wake()

    def lost(self, *, worthless: bool) -> None:
        """Add an overflow: changes were lost."""
        self.tell(EventKind.OVERFLOW, "", int(worthless))

    def ended(self, error: EnvdError) -> None:
        """End: there will be no more."""
        self.error = error
        self._wake()

    # What readers call.

    async def begin(self) -> None:
        """Follow; every change from now on will be there.

        Raises:
            EnvdError: as TreeWatcher.begin.
        """
        try:
            await self.following.begin()
        except ScanStoppedError:
            raise self.error or self._over() from None
        except BaseException:
            self.close()
            raise

    async def keep(self, slot: WatchSlot) -> None:
        """Write down what it is and what happens from now on; when this returns it survives this process."""
        self._keeping = WatchLog(slot)
        await asyncio.shield(self._start_rewrite(self._keeping))

    def restore(self, slot: WatchSlot, records: Iterator[bytes]) -> None:
        """Go back to where an earlier process was. Blocks; no client may use it yet."""
        account = self.following.account
        account.quiet = True
        read_rest(records, account, self.history)
        account.quiet = False
        self._keeping = WatchLog(slot)

    def close(self) -> None:
        """Stop following; a reader is told, and it will not survive this process."""
        self.following.close()
        if self.error is None:
            self.ended(self._over())
        if self._keeping is not None:
            self._keeping.free()
            self._keeping = None
        self.history.drop(self.history.last)

    def take(self, limit: int) -> list[Event]:
        """Return what comes next, at most so many; empty if everything was taken."""
        self._save()  # first: whoever has seen an event must find the same one by its number afterwards
        return self.history.take(limit)

    def peek(self, limit: int) -> list[Event]:
        """Return what there is, at most so many from the oldest on."""
        self._save()
        return self.history.peek(limit)

    def drop(self, upto: int) -> None:
        """Drop events up to a number, for they are not wanted any more."""
        some = self.history.first <= upto
        self.history.drop(upto)
        if some and self._keeping is not None:
            self._keeping.dropped(upto)

    @property
    def ready(self) -> bool:
        """There is something to take."""
        return self.history.last > self.history.taken

    def attend(self, portion: int, turns: FairScheduler) -> WatchReader:
        """Return what reads on, so many events at a time, and those in its turn; the reader before is sent away."""
        self._reader += 1
        self._wake()
        return WatchReader(self, self._reader, portion, turns)

    def attended_by(self, reader: int) -> bool:
        """Return whether that is the reader that came last."""
        return self._reader == reader

    async def wait(self, timeout_s: float) -> bool:
        """Wait for something to read; False if `timeout_s` passed first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout_s, _resolve, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()

    def _save(self) -> None:
        if self._unsaved and self._keeping is not None:
            self._keeping.note(self._unsaved)
        self._unsaved.clear()

    def _start_rewrite(self, keeping: WatchLog) -> asyncio.Task[None]:
        keeping.begin()
        return self._means.jobs.spawn(self._rewrite(keeping), name="keep a watch")

    async def _rewrite(self, keeping: WatchLog) -> None:
        """Write everything anew, while reports wait."""

        async def work() -> None:
            self._save()
            keeping.collect()
            account, history = self.following.account, self.history
            write = partial(keeping.prepare, self.card, account, history.peek(), history.last)
            await self._means.threads.settle(write)
            keeping.switch()
            await self._means.threads.settle(keeping.tidy)

        try:
            await self.following.undisturbed(work)
        finally:
            keeping.end()

    def _over(self) -> EnvdError:
        return EnvdError(Code.ABORTED, f"watching {self.card.top.path} was ended")

    def _wake(self) -> None:
        if self._waiter is not None:
            _resolve(self._waiter, True)


class WatchReader:
    """Reads a watch as it goes on."""

    def __init__(self, watch: Watch, number: int, portion: int, turns: FairScheduler) -> None:
        self._watch = watch
        self._portion = portion
        self._number = number
        self._turns = turns

    async def next(self, keepalive_s: float) -> list[Event] | WatchKeepAlive:
        """Return what comes next, at least one change; KeepAlive if that is nothing for so long.

        Raises:
            EnvdError: there will be nothing more, and why; ABORTED if another reader has come.
        """
        watch = self._watch
        while True:
            if watch.ready:
                await self._turns.mine()
            if not watch.attended_by(self._number):
                raise EnvdError(Code.ABORTED, "this watch was resumed by another stream")
            events = watch.take(self._portion)
            if events:
                return events
            if watch.error is not None:
                raise watch.error
            if watch.following.frozen:
                watch.following.recover()
            if not await watch.wait(keepalive_s):
                return WatchKeepAlive()


def _resolve(waiter: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 - a callback's argument
    if not waiter.done():
        waiter.set_result(value)
