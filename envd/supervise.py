"""Jobs that outlive the request that asked for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("envd.supervise")


class Supervisor:
    """Runs jobs that outlive the request that asked for them; one failing job never stops another.

    Not bounded itself: callers bound the jobs they spawn (one per connection, process or lifetime of the daemon).
    """

    def __init__(self) -> None:
        self._jobs: set[asyncio.Task[None]] = set()

    def spawn(self, job: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a job; a failure is logged with its stack."""
        task = asyncio.create_task(self._guard(job, name), name=name)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task

    async def _guard(self, job: Coroutine[Any, Any, None], name: str) -> None:
        try:
            await job
        except Exception:
            log.exception("job failed", extra={"job": name})

    async def stop(self) -> None:
        """Cancel what still runs and wait for it."""
        for task in list(self._jobs):
            task.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
