"""Content that arrives in pieces, written in threads while the next pieces arrive."""

from __future__ import annotations

import asyncio
import hashlib
import os

from envd.errors import Code, EnvdError, from_os_error

from .staging import Staged
from .threads import Held

_TOGETHER = 1024 * 1024


class Upload:
    """Writes to a staged file.

    Holds up to 1 MiB and a piece while as much is being written; then the next piece waits.

    Args:
        digested: reckon the SHA-256.
    """

    def __init__(self, staged: Held[Staged], *, digested: bool) -> None:
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

    async def finish(self, sha256: bytes | None) -> bytes | None:
        """Put the content in place; return its SHA-256 if that was reckoned.

        Raises:
            EnvdError: DATA_LOSS if it is not the one given.
        """
        await self._flush()
        await self._settled()
        found = self._digest.digest() if self._digest else None
        if sha256 is not None and found != sha256:
            raise EnvdError(
                Code.DATA_LOSS,
                f"sha256 of the {self.written} bytes received is {(found or b'').hex()}, not as announced",
            )
        await self._staged.run(self._staged.it.commit)
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
        staged = self._staged.it
        try:
            for piece in pieces:
                if self._digest is not None:
                    self._digest.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[os.write(staged.fd, view) :]
        except OSError as exc:
            raise from_os_error(exc, doing=f"write {staged.path}") from exc
