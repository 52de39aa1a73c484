"""Where the content of uploads comes from, and how it is read without holding up anyone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import IO

from envd_sdk.entries import Content

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
        for piece in content:
            yield piece


def pieces(content: Source) -> Iterator[str | bytes | memoryview]:
    """The parts of a content."""
    if isinstance(content, str | bytes | bytearray | memoryview):
        yield content if isinstance(content, str) else memoryview(content)
    elif hasattr(content, "read"):
        while part := content.read(_READ):
            yield part
    else:
        yield from content


async def each_async(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    """What an iterator that may take its time yields, taken in a thread."""
    while (piece := await asyncio.to_thread(next, source, None)) is not None:
        yield piece


def each(source: Iterator[bytes]) -> Iterator[bytes]:
    return source


def place_of(content: object) -> int | None:
    """Where an open file stands, if it can be brought back there; None for anything else."""
    seekable = getattr(content, "seekable", None)
    return content.tell() if seekable is not None and seekable() else None  # type: ignore[attr-defined]


def back_to(content: object, place: int) -> None:
    file: IO[bytes] = content  # type: ignore[assignment]
    file.seek(place)
