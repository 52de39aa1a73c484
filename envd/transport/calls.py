"""Running a method: the same for every wire, whatever its cardinality."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any

from envd.errors import Code, EnvdError
from envd.rpc import Call, Method, Reply

from .deadline import EXPIRED

log = logging.getLogger("envd.transport")


async def replies(method: Method, requests: AsyncGenerator[Any, None], call: Call) -> AsyncGenerator[Reply, None]:
    """Run a method on the messages of the client, and yield its replies.

    Raises:
        EnvdError: UNIMPLEMENTED if a method that takes one message gets none, or more; what the method raises.
    """
    async with aclosing(requests):
        request = requests if method.client_streaming else await _only(requests)
        if not method.server_streaming:
            yield await method.function(request, call)
            return
        async with aclosing(method.function(request, call)) as replies:
            async for reply in replies:
                yield reply


async def _only(requests: AsyncGenerator[Any, None]) -> Any:
    """Return the one message of a request; read to its end, for a second one is an error."""
    messages: list[Any] = []
    async for request in requests:
        if messages:
            raise EnvdError(Code.UNIMPLEMENTED, "unary request has multiple messages")
        messages.append(request)
    if not messages:
        raise EnvdError(Code.UNIMPLEMENTED, "unary request has zero messages")
    return messages[0]


async def failure(work: Awaitable[None], timeout_s: float | None, path: str) -> EnvdError | None:
    """Await a call for at most `timeout_s` seconds; return how it failed, None if it did not.

    The guard of every wire: an unexpected exception is logged with its stack and becomes INTERNAL.
    """
    try:
        async with asyncio.timeout(timeout_s) as limit:
            await work
    except EnvdError as exc:
        # Its traceback leads to frames that lead back to it, with all they hold: a message of megabytes, for example.
        exc.__traceback__ = exc.__cause__ = exc.__context__ = None
        return exc
    except Exception as exc:
        if isinstance(exc, TimeoutError) and limit.expired():
            return EnvdError(Code.DEADLINE_EXCEEDED, EXPIRED)
        log.exception("handler failed", extra={"path": path})
        return EnvdError(Code.INTERNAL, "internal error")
    return None


def limit_of(method: Method, timeout_s: float | None, unary_s: float) -> float | None:
    """Return how long a call may take in seconds: as its client says, else `unary_s` unless something streams."""
    if timeout_s is not None or method.client_streaming or method.server_streaming:
        return timeout_s
    return unary_s
