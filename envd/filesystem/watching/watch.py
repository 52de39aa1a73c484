"""One watch: what is followed, what has happened there, and who hears of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from envd.errors import Code, EnvdError

from .events import Event, Kind
from .following import Following, Means, Top
from .history import History
from .scanning import ScanStoppedError

_PORTION = 512


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Nothing happened for as long as the client wanted to hear so."""


class Watch:
    """Collects the changes of one tree. The audience of a Following.

    Attributes:
        ident: names it to clients, unguessable.
        top: what is followed.
        error: why there will be no more changes; None while there may be.
    """

    def __init__(self, ident: str, top: Top, means: Means, history: History) -> None:
        self.ident = ident
        self.top = top
        self.history = history
        self.following = Following(top, means, self)
        self.error: EnvdError | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._reader = 0

    # What its Following calls.

    @property
    def full(self) -> bool:
        """It can take no more for now."""
        return self.history.full

    def tell(self, kind: Kind, name: str, state: int) -> None:
        """Take a change."""
        self.history.add(kind, name, state)

    def told(self) -> None:
        """There is no more for now."""
        if self.history.last > self.history.taken:
            self._wake()

    def lost(self, *, worthless: bool) -> None:
        """Note that changes were lost."""
        self.history.add(Kind.OVERFLOW, "", int(worthless))

    def ended(self, error: EnvdError) -> None:
        """Note that there will be no more."""
        self.error = error
        self._wake()

    # What readers call.

    async def begin(self) -> None:
        """Follow; every change from now on will be there.

        Raises:
            EnvdError: as Following.begin.
        """
        try:
            await self.following.begin()
        except ScanStoppedError:
            raise self.error or _ended(self.top) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop following; who reads is told."""
        self.following.close()
        if self.error is None:
            self.ended(_ended(self.top))

    def attend(self) -> Reader:
        """Return what reads on; who read before is sent away."""
        self._reader += 1
        self._wake()
        return Reader(self, self._reader)

    def attended_by(self, reader: int) -> bool:
        """Return whether that is the reader who came last."""
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

    def _wake(self) -> None:
        if self._waiter is not None:
            _resolve(self._waiter, True)


class Reader:
    """Reads a watch as it goes on."""

    def __init__(self, watch: Watch, number: int) -> None:
        self._watch = watch
        self._number = number

    async def next(self, keepalive_s: float) -> list[Event] | KeepAlive:
        """Return what comes next, at most 512 changes; KeepAlive if that is nothing for so long.

        Raises:
            EnvdError: there will be nothing more, and why; ABORTED if another reader has come.
        """
        watch = self._watch
        while True:
            if not watch.attended_by(self._number):
                raise EnvdError(Code.ABORTED, "this watch was resumed by another stream")
            events = watch.history.take(_PORTION)
            if events:
                return events
            if watch.error is not None:
                raise watch.error
            if watch.following.frozen:
                watch.following.recover()
            if not await watch.wait(keepalive_s):
                return KeepAlive()


def _ended(top: Top) -> EnvdError:
    return EnvdError(Code.ABORTED, f"watching {top.path} was ended")


def _resolve(waiter: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 - a callback's argument
    if not waiter.done():
        waiter.set_result(value)
