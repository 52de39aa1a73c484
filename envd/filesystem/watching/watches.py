"""All watches there are."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from dataclasses import dataclass

from envd.errors import Code, EnvdError

from .events import Event
from .following import Means, Top
from .history import History
from .watch import Watch

_LETTERS = string.ascii_lowercase + string.digits
_IDENT_LETTERS = 20
_UNTAKEN = 16384
_TAKEN = 4096


@dataclass(frozen=True, slots=True)
class Sizes:
    """What may be kept.

    Attributes:
        watches: that outlive their streams, or are polled.
        ttl_s: for so many seconds after somebody has asked for one.
    """

    watches: int
    ttl_s: float


class Watches:
    """Makes watches and keeps those that somebody may come back for."""

    def __init__(self, means: Means, sizes: Sizes) -> None:
        self._means = means
        self._sizes = sizes
        self._kept: dict[str, Watch] = {}
        self._used: dict[str, float] = {}

    async def open(self, top: Top, *, kept: bool) -> Watch:
        """Begin to watch.

        Args:
            top: what to watch.
            kept: events that were taken stay for a client that resumes.

        Raises:
            EnvdError: as Watch.begin.
        """
        self._means.hub.open()
        history = History(limit=_UNTAKEN, kept=_TAKEN if kept else 0)
        watch = Watch(_new_ident(), top, self._means, history)
        await watch.begin()
        return watch

    async def create(self, top: Top) -> Watch:
        """Begin to watch for a client that polls.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there are too many; else as Watch.begin.
        """
        if len(self._kept) >= self._sizes.watches:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED,
                f"there are {len(self._kept)} watchers already: remove those that are not needed with RemoveWatcher",
            )
        watch = await self.open(top, kept=False)
        self._kept[watch.ident] = watch
        self._used[watch.ident] = time.monotonic()
        return watch

    def find(self, ident: str) -> Watch:
        """Return a watch that is polled.

        Raises:
            EnvdError: NOT_FOUND if there is none.
        """
        watch = self._kept.get(ident)
        if watch is None:
            raise EnvdError(Code.NOT_FOUND, f"watcher with id {ident} not found")
        self._used[ident] = time.monotonic()
        return watch

    def remove(self, ident: str) -> None:
        """End a watch that is polled.

        Raises:
            EnvdError: NOT_FOUND if there is none.
        """
        watch = self.find(ident)
        del self._kept[ident], self._used[ident]
        watch.close()

    async def poll(self, watch: Watch, after: int | None) -> list[Event]:
        """Return what has happened, and drop it.

        Args:
            watch: as `find` gave it.
            after: number of the last event the client has; later ones are returned and stay. None: none stay.

        Raises:
            EnvdError: there is nothing, and never will be more; why.
        """
        if watch.following.frozen:
            watch.following.recover()
            await watch.following.calm()
        history = watch.history
        if after is not None:
            history.drop(after)
            events = history.peek(history.first - 1)
        else:
            events = history.take(history.last - history.taken)
        if not events and watch.error is not None:
            raise watch.error
        return events

    async def expire(self) -> None:
        """End watches nobody has asked for in a long time, for ever."""
        while True:
            await asyncio.sleep(self._sizes.ttl_s / 60)
            long_ago = time.monotonic() - self._sizes.ttl_s
            for ident in [ident for ident, used in self._used.items() if used < long_ago]:
                self.remove(ident)


def _new_ident() -> str:
    return "w" + "".join(secrets.choice(_LETTERS) for _ in range(_IDENT_LETTERS))
