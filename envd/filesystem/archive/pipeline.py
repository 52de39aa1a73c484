"""Archives between clients and threads: the next piece is worked on while this one is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

from envd.filesystem.threads import OwnedResource

from .extraction import Extracted, Extraction
from .stream import ArchiveStream

_TOGETHER = 256 * 1024
_AT_ONCE = 1024 * 1024  # so that a cancelled call is soon at rest


async def runs(held: OwnedResource[ArchiveStream]) -> AsyncGenerator[bytes, None]:
    """Yield an archive run by run.

    Raises:
        EnvdError: as ArchiveStream.next_run.
    """
    reading_on = held.begin(held.it.next_run)
    while run := await reading_on:
        reading_on = held.begin(held.it.next_run)
        yield run


class Pipeline:
    """Gives what arrives to an extraction.

    Holds up to 256 KiB and a piece while as much is being worked on; then the next piece waits.
    """

    def __init__(self, held: OwnedResource[Extraction]) -> None:
        self._held = held
        self._waiting: list[bytes] = []
        self._size = 0
        self._working: asyncio.Future[None] | None = None

    async def put(self, data: bytes) -> None:
        """Take the next bytes of the archive.

        Raises:
            EnvdError: earlier ones were refused.
        """
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _TOGETHER:
            await self._flush()

    async def finish(self) -> Extracted:
        """Put everything in place."""
        await self._flush()
        await self._settled()
        return await self._held.run(self._held.it.commit)

    async def _flush(self) -> None:
        data, self._waiting, self._size = b"".join(self._waiting), [], 0
        for at in range(0, len(data), _AT_ONCE):
            await self._settled()
            self._working = self._held.begin(partial(self._held.it.feed, data[at : at + _AT_ONCE]))

    async def _settled(self) -> None:
        if self._working is not None:
            working, self._working = self._working, None
            await working
