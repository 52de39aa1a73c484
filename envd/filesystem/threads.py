"""Where file work is done: in threads, because any of it can block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_AT_ONCE = 32


class Threads:
    """Runs work in at most 32 threads; what comes on top waits for one that is free.

    A thread cannot be stopped. When the caller of a piece of work is cancelled, the work goes on to its end unless it
    had not begun, and nobody hears of it.
    """

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="files")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one piece of work."""
        return await asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))

    async def settle(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one piece of work. A cancelled caller waits for its end too, and may then close what it was using."""
        running = asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                with suppress(asyncio.CancelledError):  # cancelled once more: it still uses what would be closed
                    await asyncio.wait([running])
            _heard(running)
            raise

    @asynccontextmanager
    async def holding(self, make: Callable[[], T], let_go: Callable[[T], object]) -> AsyncIterator[Held[T]]:
        """Make something, and let go of it on the way out, behind all work on it; both in threads."""
        making = self._pool.submit(make)
        try:
            held = Held(await asyncio.wrap_future(making), self._pool)
        except asyncio.CancelledError:
            making.add_done_callback(lambda made: self._let_go_of(made, let_go))
            raise
        try:
            yield held
        finally:
            if not held.over:
                await asyncio.wrap_future(held.last(lambda: let_go(held.it)))

    def _let_go_of(self, made: Future[T], let_go: Callable[[T], object]) -> None:
        if not made.cancelled() and made.exception() is None:
            self._pool.submit(let_go, made.result())


class Held(Generic[T]):
    """Something that is worked on in threads, one piece of work after the other.

    Attributes:
        it: what is held.
        over: the work that was done on it has let go of it.
    """

    def __init__(self, it: T, pool: ThreadPoolExecutor) -> None:
        self.it = it
        self.over = False
        self._pool = pool
        self._latest: Future[object] | None = None

    def begin(self, work: Callable[[], U]) -> asyncio.Future[U]:
        """Begin a piece of work; the one before it has ended."""
        future = self._pool.submit(work)
        self._latest = future  # type: ignore[assignment]  # only its end matters
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_heard)
        return waiting

    async def run(self, work: Callable[[], U]) -> U:
        """Run a piece of work."""
        return await self.begin(work)

    def last(self, work: Callable[[], object]) -> Future[object]:
        """Run the last piece of work, which cannot be called off, once the one before it has ended."""
        ended: Future[object] = Future()

        def finish(_: object) -> None:
            self._pool.submit(_settle, ended, work)

        if self._latest is None:
            finish(None)
        else:
            self._latest.add_done_callback(finish)
        return ended


U = TypeVar("U")


def _heard(done: asyncio.Future[U]) -> None:
    """Take note of a failure, for work whose caller went away has nobody else who does."""
    if not done.cancelled():
        done.exception()


def _settle(ended: Future[object], work: Callable[[], object]) -> None:
    failed: Exception | None = None
    try:
        work()
    except OSError as exc:
        failed = exc
    if ended.set_running_or_notify_cancel():
        if failed is None:
            ended.set_result(None)
        else:
            ended.set_exception(failed)
