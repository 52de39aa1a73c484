"""Blocking work: for asyncio in a thread, for threads where it is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def outside_async(work: Callable[[], T]) -> T:
    """Do it without holding up the loop."""
    return await asyncio.to_thread(work)


def outside(work: Callable[[], T]) -> T:
    return work()
