"""Runs file work in threads, because any of it can block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from .steps import Step
from .thread_pool import ThreadPool

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")

_LOOK_S = 0.25
_QUEUED_S = 1.0


class Threads:
    """Runs work in threads.

    A thread cannot be stopped. When the caller of a piece of work is cancelled, the work goes on to its end unless it
    had not begun, and nobody hears of it. When a piece of work does not get on, its caller gets DEADLINE_EXCEEDED in
    the end, or UNAVAILABLE if it has not begun; see ThreadPool.

    Args:
        paths: what the work is on; by them is told which file system can hold it up. Without any it is none.
    """

    def __init__(self, pool: ThreadPool, paths: tuple[str, ...] = ()) -> None:
        self._pool = pool
        self._paths = paths
        self._latest: Step[Any] | None = None

    def at(self, *paths: str) -> Threads:
        """Return threads for one call's work on what is at absolute paths.

        What is done by `settle` and `finish` is done one after the other, even if its callers do not wait.
        """
        return Threads(self._pool, paths)

    def add(self, path: str) -> None:
        """Work on one more path from now on."""
        devices = {self._pool.device(path) for path in self._paths}
        if self._pool.device(path) not in devices:
            self._paths += (path,)

    def device(self, path: str) -> str:
        """Return the device a path is on as it is written: work on others is not held up by it."""
        return self._pool.device(path)

    @property
    def get_on(self) -> bool:
        """All that threads work on, for whichever call, gets on: no file system has stopped to answer."""
        return self._pool.gets_on

    @property
    def at_rest(self) -> bool:
        """No thread works for this call any more, also not for somebody who has given up."""
        return self._latest is None or self._latest.over

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one piece of work."""
        return await asyncio.wrap_future(self._pool.submit(partial(work, *args, **kwargs), self._paths).answer)

    async def settle(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one piece of work. A cancelled caller waits for its end too, unless it does not get on.

        Whoever closes what it was using does so by `finish`, which comes behind it.
        """
        step = self._submit_next(partial(work, *args, **kwargs))
        waiting = asyncio.wrap_future(step.answer)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not step.answer.cancel():
                await _until_over(step, waiting)
            # It may learn only in the next turn of the loop that the step was called off.
            waiting.add_done_callback(_heard)
            raise

    async def finish(self, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run the last piece of work, which cannot be called off; return before its end if it does not get on."""
        await _finished(self._submit_next(partial(work, *args, **kwargs), certain=True))

    def _submit_next(self, work: Callable[[], T], *, certain: bool = False) -> Step[T]:
        step = self._pool.submit(work, self._paths, self._latest, certain=certain)
        if self._paths:
            self._latest = step
        return step

    @asynccontextmanager
    async def holding(self, make: Callable[[], T], let_go: Callable[[T], object]) -> AsyncIterator[OwnedResource[T]]:
        """Make a resource, and release it on the way out, behind all work on it; both in threads."""
        making = self._pool.submit(make, self._paths)
        try:
            held = OwnedResource(await asyncio.wrap_future(making.answer), self._pool, self._paths)
        except BaseException:
            self._pool.when_over(making, lambda step: self._let_go_of(step, let_go))
            raise
        try:
            yield held
        finally:
            if not held.over:
                await held.finish(let_go)

    def _let_go_of(self, step: Step[T], let_go: Callable[[T], object]) -> None:
        if step.value is not None:
            self._pool.submit(partial(let_go, step.value), self._paths, certain=True)


class OwnedResource(Generic[T]):
    """A resource that is used in threads, one piece of work after the other.

    Attributes:
        it: what is held.
        over: the last piece of work has released it.
    """

    def __init__(self, it: T, pool: ThreadPool, paths: tuple[str, ...]) -> None:
        self.it = it
        self.over = False
        self._pool = pool
        self._paths = paths
        self._latest: Step[Any] | None = None

    def begin(self, work: Callable[[], U]) -> asyncio.Future[U]:
        """Begin a piece of work, behind the one before it."""
        step = self._latest = self._pool.submit(work, self._paths, self._latest)
        waiting = asyncio.wrap_future(step.answer)
        waiting.add_done_callback(_heard)
        return waiting

    async def run(self, work: Callable[[], U]) -> U:
        """Run a piece of work."""
        return await self.begin(work)

    async def finish(self, let_go: Callable[[T], object]) -> None:
        """Let go of it behind all work; return before the end of that if it does not get on."""
        await _finished(self._pool.submit(partial(let_go, self.it), self._paths, self._latest, certain=True))

    @property
    def at_rest(self) -> bool:
        """No thread works on it any more, also not for somebody who has given up."""
        return self._latest is None or self._latest.over

    def when_at_rest(self, heard: Callable[[], object]) -> None:
        """Have something called on the loop when the work that was begun on it is over."""
        loop = asyncio.get_running_loop()
        if self._latest is not None:
            self._pool.when_over(self._latest, lambda _: loop.call_soon_threadsafe(heard))


async def _finished(step: Step[Any]) -> None:
    """Wait for the last step.

    Raises:
        Exception: it failed.
    """
    waiting = asyncio.wrap_future(step.answer)
    await _until_over(step, waiting)
    if waiting.done() and not waiting.cancelled():
        waiting.result()


async def _until_over(step: Step[Any], waiting: asyncio.Future[Any]) -> None:
    """Wait for the end of a step, however often the caller is cancelled, but not for one that does not get on."""
    cancelled = False
    left_s = _QUEUED_S
    while not waiting.done() and not step.blocked and left_s > 0:
        try:
            await asyncio.wait([waiting], timeout=_LOOK_S)
        except asyncio.CancelledError:
            cancelled = True  # once more: it still uses what would be closed
        left_s -= _LOOK_S if step.queued else 0.0
    waiting.add_done_callback(_heard)
    if cancelled:
        raise asyncio.CancelledError


def _heard(done: asyncio.Future[U]) -> None:
    """Read a failure so that asyncio does not log it: the caller of this work went away."""
    if not done.cancelled():
        done.exception()
