"""The table of all watches."""

from __future__ import annotations

import asyncio
import logging
import secrets
import string
import time
from collections import Counter

from envd.errors import Code, EnvdError
from envd.host.unreadable import UNREADABLE

from .events import Event
from .history import Backlog, History
from .rescan import Deps
from .slots import WatchSlot, WatchSlots
from .watch import Watch
from .watch_log import WatchInfo, read_card
from .watch_root import WatchRoot

log = logging.getLogger("envd.filesystem.watching")

_LETTERS = string.ascii_lowercase + string.digits
_IDENT_LETTERS = 20
_TAKEN = 4096
_ANSWER = 16384
_ALL_EVENTS = 262_144
# What a client was sent without confirming it is kept a moment longer, should the server die before it is out.
_SENDING_S = 1.0


class Watches:
    """Makes watches and keeps those for which a client may come back.

    Attributes:
        placements: to be told of files the daemon itself puts in their places.
        turns: on the loop, for tasks that send events to clients.
    """

    def __init__(self, means: Deps, slots: WatchSlots) -> None:
        self._means = means
        self._slots = slots
        self._config = means.config
        self._kept: dict[str, Watch] = {}
        self._left_at: dict[str, float] = {}
        self._streams: Counter[str] = Counter()
        self._beginning = 0
        self._backlog = Backlog(_ALL_EVENTS)
        self.placements = means.hub.placements
        self.turns = means.turns

    # Streams.

    async def open(self, top: WatchRoot) -> Watch:
        """Begin to watch for one stream, which closes the watch.

        Raises:
            EnvdError: as Watch.begin.
        """
        return await self._begin(WatchInfo("", top, polled=False), kept=0)

    async def open_kept(self, top: WatchRoot) -> Watch:
        """Begin to watch for a stream that may be resumed; `leave` it in the end.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there are too many; else as Watch.begin.
        """
        watch = await self._open_kept(WatchInfo(_new_ident(), top, polled=False))
        self._streams[watch.card.ident] = 1
        return watch

    def resume(self, ident: str, after: int, top: WatchRoot) -> Watch | None:
        """Return the watch an earlier stream had, to be read behind an event; None if it is not there any more.

        Raises:
            EnvdError: INVALID_ARGUMENT if it is another directory's, or was begun with other options.
        """
        watch = self._kept.get(ident)
        if watch is None or watch.card.polled:
            return None
        if watch.card.top != top:
            raise EnvdError(
                Code.INVALID_ARGUMENT,
                f"cursor is of a watch of {watch.card.top.path} with other options: give the path and options it had, "
                "or an empty cursor",
            )
        self._left_at.pop(ident, None)
        self._streams[ident] += 1
        if not watch.history.rewind(after):
            watch.history.rewind(watch.history.last)
            watch.lost(worthless=True)
        return watch

    def leave(self, watch: Watch) -> None:
        """Act on the end of a watch's stream; another may have resumed it."""
        ident = watch.card.ident
        if ident in self._kept:
            self._streams[ident] -= 1
            if self._streams[ident] <= 0:
                self._note_use(ident)

    # Polling.

    async def create(self, top: WatchRoot, *, entries: bool) -> Watch:
        """Begin to watch for a client that polls.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there are too many; else as Watch.begin.
        """
        watch = await self._open_kept(WatchInfo(_new_ident(), top, polled=True, entries=entries))
        self._note_use(watch.card.ident)
        return watch

    def find(self, ident: str) -> Watch:
        """Return a watch that is polled.

        Raises:
            EnvdError: NOT_FOUND if there is none.
        """
        watch = self._kept.get(ident)
        if watch is None or not watch.card.polled:
            raise EnvdError(Code.NOT_FOUND, f"watcher with id {ident} not found")
        self._note_use(ident)
        return watch

    def remove(self, ident: str) -> None:
        """End a watch that is polled.

        Raises:
            EnvdError: NOT_FOUND if there is none.
        """
        self._end(self.find(ident))

    async def poll(self, watch: Watch, after: int | None) -> list[Event]:
        """Return what has happened, at most 16 384 events, and drop it.

        Args:
            watch: as `find` gave it.
            after: number of the last event the client has; later ones are returned and stay. None: none stay.

        Raises:
            EnvdError: there is nothing, and never will be more; why.
        """
        if after is not None:
            watch.drop(after)
            await self._recovered(watch)
            events = watch.peek(_ANSWER)
        else:
            events = watch.take(_ANSWER)
            await self._recovered(watch)
            events += watch.take(_ANSWER - len(events))
            if events:
                asyncio.get_running_loop().call_later(_SENDING_S, watch.drop, events[-1][0])
        if not events and watch.error is not None:
            raise watch.error
        return events

    async def _recovered(self, watch: Watch) -> None:
        """Have a watch that has lost something catch up with the disk."""
        if watch.following.frozen and not watch.history.full:
            watch.following.recover()
        if not watch.following.frozen:
            await watch.following.recovered()

    # Both.

    async def restore(self) -> None:
        """Go on with the watches of an earlier server; what has changed meanwhile is told as after an overflow."""
        for slot in self._slots.taken():
            watch = await self._means.threads.run(self._read, slot)
            if watch is None:
                slot.free()
                continue
            self._kept[watch.card.ident] = watch
            self._note_use(watch.card.ident)
            try:
                self._means.hub.open()
                watch.following.recover()
            except EnvdError as exc:
                watch.ended(exc)

    async def expire(self) -> None:
        """End watches for which no client has asked in a long time; runs for ever."""
        while True:
            await asyncio.sleep(self._config.kept_s / 60)
            long_ago = time.monotonic() - self._config.kept_s
            for ident in [ident for ident, left_at in self._left_at.items() if left_at < long_ago]:
                self._end(self._kept[ident])

    def _read(self, slot: WatchSlot) -> Watch | None:
        records = slot.read()
        try:
            card = read_card(records)
            if card is None:
                return None
            watch = self._make(card, kept=0 if card.polled else _TAKEN)
            watch.restore(slot, records)
        except UNREADABLE:
            log.exception("what was kept of a watch cannot be read")
            return None
        return watch

    def _make(self, card: WatchInfo, *, kept: int) -> Watch:
        return Watch(card, self._means, History(self._backlog, limit=self._config.events, kept=kept))

    async def _begin(self, card: WatchInfo, *, kept: int) -> Watch:
        self._means.hub.open()
        watch = self._make(card, kept=kept)
        await watch.begin()
        return watch

    async def _open_kept(self, card: WatchInfo) -> Watch:
        self._make_room()
        self._beginning += 1
        try:
            watch = await self._begin(card, kept=0 if card.polled else _TAKEN)
        finally:
            self._beginning -= 1
        self._kept[card.ident] = watch
        slot = self._slots.take()
        try:
            if slot is not None:
                await watch.keep(slot)
        except BaseException:
            self._end(watch)
            raise
        return watch

    def _make_room(self) -> None:
        """Have room for one more: a stream's that was left makes way, the one that was left first."""
        if len(self._kept) + self._beginning < self._config.kept_watches:
            return
        for ident in sorted(self._left_at, key=lambda ident: self._left_at[ident]):
            if not self._kept[ident].card.polled:
                self._end(self._kept[ident])
                return
        raise EnvdError(
            Code.RESOURCE_EXHAUSTED,
            f"{self._config.kept_watches} watches are kept already: remove watchers that are not needed with "
            "RemoveWatcher, or watch with a stream that gives no cursor",
        )

    def _note_use(self, ident: str) -> None:
        self._left_at[ident] = time.monotonic()

    def _end(self, watch: Watch) -> None:
        self._kept.pop(watch.card.ident, None)
        self._left_at.pop(watch.card.ident, None)
        del self._streams[watch.card.ident]
        watch.close()


def _new_ident() -> str:
    return "w" + "".join(secrets.choice(_LETTERS) for _ in range(_IDENT_LETTERS))
