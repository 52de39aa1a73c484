"""Callbacks: for asyncio they may be coroutine functions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

AsyncHandler = Callable[[T], object] | Callable[[T], Awaitable[object]]
Handler = Callable[[T], object]


async def hand_over_async(callback: AsyncHandler[T] | None, value: T) -> None:
    if callback is not None:
        outcome = callback(value)
        if inspect.isawaitable(outcome):
            await outcome


def hand_over(callback: Handler[T] | None, value: T) -> None:
    if callback is not None:
        callback(value)
