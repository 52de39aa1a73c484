"""Sources of uploaded content, which are read without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping

from envd_sdk.entries import Content
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.replay_buffer import ReplayBuffer

# What an upload may be made of: a whole content, or pieces that come one after the other.
Source = Content | Iterable[str | bytes]
AsyncSource = Source | AsyncIterable[str | bytes]

# Bytes, or characters, read from a file at a time.
_READ = 1024 * 1024


async def pieces_async(content: AsyncSource) -> AsyncIterator[str | bytes | memoryview]:
    """The parts of a content. Files are read in a thread, for they may be slow; iterables on the loop."""
    if isinstance(content, str | bytes | bytearray | memoryview):
        yield content if isinstance(content, str) else memoryview(content)
    elif isinstance(content, AsyncIterable):
        async for piece in content:
            yield piece
    elif hasattr(content, "read"):
        while part := await asyncio.to_thread(content.read, _READ):
            yield part
    else:
        for piece in _iterable(content):
            yield piece


def pieces(content: Source) -> Iterator[str | bytes | memoryview]:
    """The parts of a content."""
    if isinstance(content, str | bytes | bytearray | memoryview):
        yield content if isinstance(content, str) else memoryview(content)
    elif hasattr(content, "read"):
        while part := content.read(_READ):
            yield part
    else:
        yield from _iterable(content)


def _iterable(content: object) -> Iterable[str | bytes]:
    """A content that comes in pieces.

    Raises:
        InvalidArgumentException: it is none. A mapping's keys are surely not meant.
    """
    if not isinstance(content, Iterable) or isinstance(content, Mapping):
        name = type(content).__name__
        raise InvalidArgumentException(f"the content is {name}: give text, bytes, an open file or an iterable of those")
    return content


async def each_async(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    """What an iterator that may take its time yields, taken in a thread."""
    while (piece := await asyncio.to_thread(next, source, None)) is not None:
        yield piece


def each(source: Iterator[bytes]) -> Iterator[bytes]:
    return source


class AsyncPieces:
    """A content in pieces, kept from when they are taken until `forget`: what was sent in vain is sent again."""

    def __init__(self, content: AsyncSource) -> None:
        self.buffer = ReplayBuffer()
        self._source = pieces_async(content)

    async def at(self, index: int) -> memoryview | None:
        """A piece; None behind the last one.

        Raises:
            SandboxUnreachableException: it was forgotten.
        """
        while not self.buffer.has(index):
            if self.buffer.over:
                return None
            await self._take()
        return self.buffer.get(index)

    async def fit(self, size: int) -> bool:
        """Whether so many bytes are all there is; takes them, and a piece, to know."""
        while self.buffer.size <= size and not self.buffer.over:
            await self._take()
        return self.buffer.size <= size

    def forget(self, end: int) -> None:
        self.buffer.forget(end)

    def forget_bytes(self, size: int) -> int:
        return self.buffer.forget_bytes(size)

    async def _take(self) -> None:
        try:
            self.buffer.add(await anext(self._source))
        except StopAsyncIteration:
            self.buffer.end()
        except BaseException as error:
            self.buffer.end(error)
            raise


class Pieces:
    """A content in pieces, kept from when they are taken until `forget`: what was sent in vain is sent again.

    The thread of a call that has failed may still be waiting for a piece: that of the next one then waits for it.
    """

    def __init__(self, content: Source) -> None:
        self.buffer = ReplayBuffer()
        self._source = pieces(content)
        self._lock = threading.Lock()

    def at(self, index: int) -> memoryview | None:
        """A piece; None behind the last one.

        Raises:
            SandboxUnreachableException: it was forgotten.
        """
        with self._lock:
            while not self.buffer.has(index):
                if self.buffer.over:
                    return None
                self._take()
            return self.buffer.get(index)

    def fit(self, size: int) -> bool:
        """Whether so many bytes are all there is; takes them, and a piece, to know."""
        with self._lock:
            while self.buffer.size <= size and not self.buffer.over:
                self._take()
            return self.buffer.size <= size

    def forget(self, end: int) -> None:
        with self._lock:
            self.buffer.forget(end)

    def forget_bytes(self, size: int) -> int:
        with self._lock:
            return self.buffer.forget_bytes(size)

    def _take(self) -> None:
        try:
            self.buffer.add(next(self._source))
        except StopIteration:
            self.buffer.end()
        except BaseException as error:
            self.buffer.end(error)
            raise
