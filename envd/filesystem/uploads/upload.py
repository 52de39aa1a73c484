"""One upload: what it has, what is arriving, and where that is written down. Lives in the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Protocol

from envd.errors import Code, EnvdError
from envd.filesystem.threads import Threads

from .extents import Extents
from .placing import Digest
from .slots import UploadSlot
from .state import LAST_OFFSET, Committed, UploadState, to_bytes


class Arriving(Protocol):
    """A part that is on its way in.

    Attributes:
        number: the later it began, the higher.
        reaches: the offset behind its last byte so far.
        claims: the bytes it writes, and nobody else may.
    """

    number: int
    reaches: int
    claims: Extents

    def stop(self, error: EnvdError) -> None:
        """Have it end with an error."""

    async def gone(self) -> None:
        """Wait until it writes no more."""


class MultipartUpload:
    """One upload.

    Attributes:
        ident: its name.
        parts: what is arriving.
        digest: of all that was received, as far as it was reckoned; kept, because what was received never changes.
        turn: who commits or aborts it.
        threads: for work on its file.
    """

    def __init__(
        self, ident: str, slot: UploadSlot, state: UploadState, threads: Threads, extents: Extents | None = None
    ) -> None:
        self.ident = ident
        self.slot = slot
        self.state = state
        self.extents = extents or Extents()
        self.parts: set[Arriving] = set()
        self.digest: Digest | None = None
        self.turn = asyncio.Lock()
        self.threads = threads.at(state.kept.directory)
        self._closed: Callable[[], EnvdError] | None = None

    def write_down(self, state: UploadState, extents: Extents | None = None) -> None:
        """Replace what is known, for the next server process first.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there is no memory for it; then nothing has changed.
        """
        extents = self.extents if extents is None else extents
        self.slot.record.write(to_bytes(self.ident, state, extents))
        self.state, self.extents = state, extents

    def receive(self, begin: int, end: int, limit: int) -> None:
        """Count a range as received; acknowledge it after this.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if that makes more than `limit` ranges; nothing has changed.
        """
        extents = self.extents.having(begin, end)
        if len(extents) > max(limit, len(self.extents)):
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"an upload can have {limit} ranges apart from each other: fill the gaps first"
            )
        self.write_down(dataclasses.replace(self.state, touched=time.monotonic()), extents)

    def check_open(self) -> None:
        """Check that it takes parts.

        Raises:
            EnvdError: it does not.
        """
        if self._closed is not None:
            raise self._closed()
        if self.state.committed is not None:
            raise EnvdError(Code.FAILED_PRECONDITION, f"upload {self.ident} was committed, it takes no parts any more")

    def check_end(self, end: int) -> None:
        """Check how far a part reaches.

        Raises:
            EnvdError: OUT_OF_RANGE if that is too far.
        """
        size = self.state.terms.size
        if end > (LAST_OFFSET if size is None else size):
            what = "a file can have" if size is None else f"the {size} announced for this upload"
            raise EnvdError(Code.OUT_OF_RANGE, f"the part reaches to byte {end}, beyond what {what}")

    def whole(self, size: int | None) -> int:
        """Return the size of the content, all of which is there.

        Raises:
            EnvdError: FAILED_PRECONDITION if it is not, or it is not known where it ends.
        """
        announced = self.state.terms.size
        if size is not None and announced is not None and size != announced:
            raise EnvdError(Code.FAILED_PRECONDITION, f"the upload was announced with {announced} bytes, not {size}")
        size = announced if size is None else size
        if size is None:
            size = self.extents.end
            if any(part.reaches > size for part in self.parts):
                raise EnvdError(
                    Code.FAILED_PRECONDITION, "a part that reaches farther is under way: wait for it, or give the size"
                )
        if self.extents.end > size:
            raise EnvdError(
                Code.FAILED_PRECONDITION, f"{self.extents.end} bytes were received, more than the {size} to commit"
            )
        missing = next((one for one in self.extents.segments(0, size) if not one.there), None)
        if missing is not None:
            raise EnvdError(
                Code.FAILED_PRECONDITION,
                f"{size - self.extents.total} of {size} bytes are missing, the first of them at {missing.begin}: "
                "GetUpload says which there are",
            )
        return size

    async def close(self, why: Callable[[], EnvdError]) -> None:
        """Take no parts from now on, and wait until those under way write no more."""
        self._closed = why
        await end(self.parts, why)

    def reopen(self) -> None:
        """Take parts again."""
        self._closed = None

    def committed(self, committed: Committed) -> None:
        """Write down that it is in place."""
        state = dataclasses.replace(self.state, touched=time.monotonic(), committed=committed)
        self.write_down(state, Extents().having(0, committed.size))


async def end(parts: Collection[Arriving], why: Callable[[], EnvdError]) -> None:
    """Stop parts and wait until they write no more; that is the end of a write of about 1 MiB."""
    parts = list(parts)
    for part in parts:
        part.stop(why())
    for part in parts:
        await part.gone()
