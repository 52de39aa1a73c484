"""The SDK's two halves, so that a test is written once and run with each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envd_sdk import AsyncSandbox, Sandbox


@dataclass(frozen=True)
class Concurrency:
    """One half: its class, and how its methods are called from a test that runs on a loop."""

    name: str
    sandbox: Any

    async def call(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Call a method: asyncio's is awaited, a blocking one runs in a thread."""
        if self.name == "sync":
            return await asyncio.to_thread(function, *args, **named)
        found = function(*args, **named)
        return await found if inspect.isawaitable(found) else found

    async def all(self, source: Any) -> list[Any]:
        """Everything an iteration gives."""
        if self.name == "sync":
            return await asyncio.to_thread(list, source)
        return [one async for one in source]

    async def first(self, source: Any) -> Any:
        """The first thing an iteration gives."""
        if self.name == "sync":
            return await asyncio.to_thread(lambda: next(iter(source)))
        return await anext(aiter(source))


CONCURRENCIES = [Concurrency("async", AsyncSandbox), Concurrency("sync", Sandbox)]
