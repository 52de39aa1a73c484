"""Reads a command's output: for asyncio a task does, from the start; for threads the thread that asks, when it asks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from envd_sdk.exceptions import NotYetException
from envd_sdk.output_matcher import Deadline

T = TypeVar("T")

# Pieces that wait for an iteration where nothing else keeps them; then the command waits.
UNREAD_PIECES = 64


class AsyncReader(Generic[T]):
    """Takes what a source has, as it comes, in a task of its own, and keeps it for `next`.

    Args:
        source: yields some at a time, None at the end. What it raises, `next` and `drain` raise.
        deliver: awaited for each of them, before they can be had from `next`.
        passed: called with each that is not kept for `next`, because too many are unread.
        unread_limit: how many are kept that nobody has asked for yet; then the source waits. None: all. 0: only what
            somebody waits for in `next`, and the source never waits.
    """

    def __init__(
        self,
        source: Callable[[], Awaitable[Iterable[T] | None]],
        deliver: Callable[[T], Awaitable[None]],
        *,
        passed: Callable[[T], object],
        unread_limit: int | None,
    ) -> None:
        self._source = source
        self._deliver = deliver
        self._passed = passed
        self._unread_limit = unread_limit
        self._asking = 0
        self._unread: deque[T] = deque()
        self._changed = asyncio.Condition()
        self._failure: Exception | None = None
        self._over = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="envd-sdk-reader")

    async def next(self, timeout_s: float | None = None) -> T | None:
        """The next one that was not asked for yet; None at the end.

        Raises:
            NotYetException: there is none yet.
        """
        self._asking += 1
        try:
            async with self._changed:
                await self._wait_until(lambda: self._unread or self._over, timeout_s)
                if self._unread:
                    self._changed.notify_all()
                    return self._unread.popleft()
        except TimeoutError:
            raise NotYetException("nothing came in time") from None
        finally:
            self._asking -= 1
        self._raise()
        return None

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait for the end. From now on nothing is kept but for who waits in `next`.

        Raises:
            NotYetException: it has not come.
        """
        async with self._changed:
            self._unread_limit = 0
            self._pass_unread()
            self._changed.notify_all()
            try:
                await self._wait_until(lambda: self._over, timeout_s)
            except TimeoutError:
                raise NotYetException("it has not ended in time") from None
        self._raise()

    async def stop(self) -> None:
        """Take no more. Who waits for more is told that this is the end."""
        if asyncio.current_task() is not self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            # A task that is cancelled before its first step never comes to its end.
            await self._end()

    async def _run(self) -> None:
        try:
            while (items := await self._source()) is not None:
                for item in items:
                    await self._deliver(item)
                    await self._keep(item)
        except Exception as error:  # noqa: BLE001 - a callback may raise anything; who waits gets it
            self._failure = error
        finally:
            await self._end()

    async def _end(self) -> None:
        self._over = True
        async with self._changed:
            self._changed.notify_all()

    async def _keep(self, item: T) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._unread_limit or len(self._unread) < self._unread_limit)
            self._unread.append(item)
            if self._unread_limit == 0 and not self._asking:
                self._pass_unread()
            self._changed.notify_all()

    async def _wait_until(self, holds: Callable[[], object], timeout_s: float | None) -> None:
        async with asyncio.timeout(timeout_s):
            await self._changed.wait_for(holds)

    def _pass_unread(self) -> None:
        while self._unread:
            self._passed(self._unread.popleft())

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure


class Reader(Generic[T]):
    """Takes what a source has when it is asked to, in the thread that asks."""

    def __init__(
        self,
        source: Callable[[float | None], Iterable[T] | None],
        deliver: Callable[[T], None],
        *,
        passed: Callable[[T], object],
        unread_limit: int | None,  # noqa: ARG002 - nothing waits here
    ) -> None:
        self._source = source
        self._deliver = deliver
        self._passed = passed
        self._ready: deque[T] = deque()
        self._over = False

    def next(self, timeout_s: float | None = None) -> T | None:
        while not self._ready:
            items = None if self._over else self._source(timeout_s)
            if items is None:
                self._over = True
                return None
            self._ready.extend(items)
        item = self._ready.popleft()
        self._deliver(item)
        return item

    def drain(self, timeout_s: float | None = None) -> None:
        deadline = Deadline(timeout_s, time.monotonic)
        while (item := self.next(deadline.left_s())) is not None:
            self._passed(item)
            if deadline.passed():
                raise NotYetException("it has not ended in time")

    def stop(self) -> None:
        self._over = True
        self._ready.clear()
