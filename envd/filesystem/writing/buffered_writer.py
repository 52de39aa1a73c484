"""Content that arrives, whole or in pieces, and is written in threads while the next pieces arrive."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.threads import OwnedResource

from .staging import StagedWrite

_TOGETHER = 1024 * 1024

T = TypeVar("T")


class BufferedWriter:
    """Writes to a staged file.

    Holds up to 1 MiB and a piece while as much is being written; then the next piece waits.

    Args:
        digested: reckon the SHA-256.
    """

    def __init__(self, staged: OwnedResource[StagedWrite], *, digested: bool) -> None:
        self._staged = staged
        self._digest = hashlib.sha256() if digested else None
        self._waiting: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None
        self.written = 0

    async def put(self, data: bytes) -> None:
        """Take the next piece."""
        self._waiting.append(data)
        self._size += len(data)
        self.written += len(data)
        if self._size >= _TOGETHER:
            await self._flush()

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of what was written so far, if it is reckoned."""
        return self._digest.digest() if self._digest else None

    async def finish(self, sha256: bytes | None, describe: Callable[[], T]) -> T:
        """Put the content in place; return what `describe`, called in the same thread, says of it.

        Raises:
            EnvdError: DATA_LOSS if its SHA-256 is not the one given.
        """
        await self._settled()
        pieces, self._waiting, self._size = self._waiting, [], 0

        def work() -> T:
            self._write(pieces)
            _check(self.digest, sha256, self.written)
            self._staged.it.commit()
            return describe()

        # One piece of work, for what goes to a thread and comes back costs a small file as much as writing it.
        found = await self._staged.run(work)
        self._staged.over = True
        return found

    async def _flush(self) -> None:
        await self._settled()
        pieces, self._waiting, self._size = self._waiting, [], 0
        if pieces:
            self._writing = self._staged.begin(lambda: self._write(pieces))

    async def _settled(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    def _write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            if self._digest is not None:
                self._digest.update(piece)
            _write(self._staged.it, piece)


def put_whole(staged: StagedWrite, content: bytes, sha256: bytes | None, *, digested: bool) -> bytes | None:
    """Write a content and put it in place; return its SHA-256 if `digested`. Blocks.

    Raises:
        EnvdError: DATA_LOSS if its SHA-256 is not the one given.
    """
    found = hashlib.sha256(content).digest() if digested or sha256 is not None else None
    _check(found, sha256, len(content))
    _write(staged, content)
    staged.commit()
    return found


def _check(found: bytes | None, announced: bytes | None, size: int) -> None:
    if announced is not None and found != announced:
        text = f"sha256 of the {size} bytes received is {(found or b'').hex()}, not as announced"
        raise EnvdError(Code.DATA_LOSS, text)


def _write(staged: StagedWrite, data: bytes) -> None:
    try:
        staged.write(data)
    except OSError as exc:
        raise from_os_error(exc, doing=f"write {staged.path}") from exc
