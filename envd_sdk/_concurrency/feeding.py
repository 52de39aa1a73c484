"""Input over a longer time: for asyncio an object to send with, for threads an iterable to send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self


class AsyncFeed(Protocol):
    """The method of AsyncInput that is used here."""

    async def send(self, pid: int, data: str | bytes, request_timeout: float | None) -> None: ...


class Feed(Protocol):
    """The method of Input that is used here."""

    def stream(self, pid: int, chunks: Iterator[str | bytes], request_timeout: float | None) -> None: ...


class AsyncInputStream:
    """Sends input to one command, in order. `send` returns when the command's pipe has taken all of it."""

    def __init__(self, feed: AsyncFeed, pid: int, request_timeout: float | None) -> None:
        self._feed = feed
        self._pid = pid
        self._request_timeout = request_timeout

    async def send(self, data: str | bytes) -> None:
        await self._feed.send(self._pid, data, self._request_timeout)

    async def close(self) -> None:
        """End the stream. The command's input stays open: `close_stdin` closes it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class AsyncFeeding:
    """The part of commands and terminals that sends input over a longer time."""

    _input: AsyncFeed

    def stream_input(self, pid: int, request_timeout: float | None = None) -> AsyncInputStream:
        """Return an object whose `send` writes to a command's input, or types into a terminal."""
        return AsyncInputStream(self._input, pid, request_timeout)


class Feeding:
    """The part of commands and terminals that sends input over a longer time."""

    _input: Feed

    def stream_input(self, pid: int, chunks: Iterable[str | bytes], request_timeout: float | None = None) -> None:
        """Write what an iterable yields to a command's input, or type it into a terminal.

        Args:
            request_timeout: seconds for which nothing may move.
        """
        self._input.stream(pid, iter(chunks), request_timeout)
