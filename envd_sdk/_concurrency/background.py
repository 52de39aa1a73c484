"""Work beside the caller's: for asyncio a task, for threads a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

# Seconds a thread that was told to end is waited for; what holds it up is a callback, and that is the caller's.
_JOIN_S = 5.0


class AsyncBackground:
    """Does a job, which handles its own failures, in a task."""

    def __init__(self, job: Callable[[], Awaitable[None]]) -> None:
        self._job = job
        self._task = asyncio.get_running_loop().create_task(self._run(), name="envd-sdk-background")

    async def stop(self) -> None:
        """Cancel it and wait until it has ended."""
        if asyncio.current_task() is not self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        await self._job()


class Background:
    """Does a job, which handles its own failures, in a thread. The job itself checks whether to end."""

    def __init__(self, job: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=job, name="envd-sdk-background", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait until it has ended, unless it is the job that asks, or a callback of its takes long."""
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)
