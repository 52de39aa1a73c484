"""A part on its way in: written where it belongs while more of it arrives, counted when it is whole and right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from envd.errors import NO_ROOM, Code, EnvdError, NoRoomError, from_os_error
from envd.filesystem.threads import OwnedResource

from .extents import Extents, Segment
from .gathering import Gathered
from .upload import MultipartUpload, end

_TOGETHER = 1024 * 1024
_PIECES_TOGETHER = 4096


@dataclass(frozen=True, slots=True)
class Start:
    """What a client announces of a part; None for what it does not.

    Attributes:
        offset: of its first byte in the file.
        length: in bytes.
        sha256: in hexadecimal.
        crc32: as zlib has it.
    """

    offset: int
    length: int | None = None
    sha256: str | None = None
    crc32: int | None = None


class UploadPart:
    """One part. Holds up to 1 MiB and a piece while as much is being written; then the next piece waits.

    Bytes that were received before are compared instead of written, so a wrong part destroys nothing. Of two parts that
    write the same bytes the one that began later stops the other: that one's client is usually gone.

    Attributes: see Arriving.
    """

    def __init__(self, upload: MultipartUpload, number: int, start: Start) -> None:
        self.number = number
        self.reaches = start.offset
        self.claims = Extents()
        self._upload = upload
        self._start = start
        self._sha256 = hashlib.sha256() if start.sha256 is not None else None
        self._crc32 = 0
        self._failure: EnvdError | None = None
        self._gone = asyncio.Event()
        self._held: OwnedResource[Gathered] | None = None
        self._patience: asyncio.Timeout | None = None
        self._idle_s = 0.0
        self._waiting: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None

    @property
    def length(self) -> int:
        """Bytes so far."""
        return self.reaches - self._start.offset

    @contextmanager
    def attending(self, held: OwnedResource[Gathered], patience: asyncio.Timeout, idle_s: float) -> Iterator[None]:
        """Wait for pieces in a block, for each at most `idle_s`, with the file to write to."""
        self._held, self._patience, self._idle_s = held, patience, idle_s
        self._check()
        self._wait_on(idle_s)
        try:
            yield
        finally:
            self._patience = None

    async def put(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            EnvdError: the part cannot become whole.
        """
        self._check()
        self._upload.check_end(self.reaches + len(data))
        self.reaches += len(data)
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _TOGETHER or len(self._waiting) >= _PIECES_TOGETHER:
            self._wait_on(None)  # for the disk, and not for the client
            await self._flush()
        self._wait_on(self._idle_s)

    async def finish(self, limit: int) -> int:
        """Count it as received, of an upload that may have `limit` ranges; return its bytes.

        Raises:
            EnvdError: it is not what was announced, or cannot be written.
        """
        self._check()
        self._wait_on(None)
        await self._flush()
        await self._settled()
        self._verify()
        if self._upload.state.terms.sync and self._held is not None:
            self._begin(self._sync)
            await self._settled()
        self._check()
        self._upload.receive(self._start.offset, self.reaches, limit)
        return self.length

    def stop(self, error: EnvdError) -> None:
        """Have it end with an error, wherever it is."""
        if self._failure is None:
            self._failure = error
            self._wait_on(0.0)
        self._let_go()

    async def gone(self) -> None:
        """Wait until it writes no more."""
        await self._gone.wait()

    def leave(self) -> EnvdError | None:
        """End; return what stopped it."""
        failure = self._failure
        if self._failure is None:
            self._failure = EnvdError(Code.CANCELED, "the part has ended")
        self._let_go()
        return failure

    def _let_go(self) -> None:
        """Leave its bytes to others, once nothing is being written, also not what nobody waits for any more."""
        if self._failure is None or (self._writing is not None and not self._writing.done()):
            return
        if self._held is not None and not self._held.at_rest:
            self._held.when_at_rest(self._let_go)
        else:
            self.claims = Extents()
            self._upload.parts.discard(self)
            self._gone.set()

    def _wait_on(self, timeout_s: float | None) -> None:
        if self._patience is not None and not self._patience.expired():
            now = asyncio.get_running_loop().time()
            self._patience.reschedule(None if timeout_s is None else now + timeout_s)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _flush(self) -> None:
        await self._settled()
        pieces, size = self._waiting, self._size
        self._waiting, self._size = [], 0
        if size:
            segments = await self._claim(self.reaches - size, self.reaches)
            self._begin(partial(self._write, pieces, segments))

    async def _claim(self, begin: int, until: int) -> list[Segment]:
        """Take bytes for this part alone; return which are to be written."""
        while rivals := [one for one in self._upload.parts if one is not self and one.claims.overlaps(begin, until)]:
            if any(one.number > self.number for one in rivals):
                raise _overtaken()
            await end(rivals, _overtaken)
            self._check()
        segments = list(self._upload.extents.segments(begin, until))
        for segment in segments:
            if not segment.there:
                self.claims.add(segment.begin, segment.end)
        return segments

    def _begin(self, work: Callable[[], None]) -> None:
        assert self._held is not None
        self._writing = self._held.begin(work)
        self._writing.add_done_callback(lambda _: self._let_go())

    async def _settled(self) -> None:
        """Wait for what is being written. Who is cancelled leaves it to its end: it cannot be called off."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
            writing, self._writing = self._writing, None
            writing.result()
        self._check()

    def _write(self, pieces: list[bytes], segments: list[Segment]) -> None:
        """Write or compare pieces; in a thread."""
        assert self._held is not None
        if self._failure is not None:
            return  # nobody waits for it
        for piece in pieces:
            if self._sha256 is not None:
                self._sha256.update(piece)
            if self._start.crc32 is not None:
                self._crc32 = zlib.crc32(piece, self._crc32)
        fd = self._held.it.fd
        try:
            for view, offset, there in _cut(pieces, segments):
                if there:
                    _compare(fd, view, offset)
                else:
                    _write_all(fd, view, offset)
        except OSError as exc:
            if exc.errno in NO_ROOM:
                raise NoRoomError(
                    "not enough disk space available: the part was not received, those before it are kept"
                ) from exc
            raise from_os_error(exc, doing=f"write a part of {self._upload.state.terms.path}") from exc

    def _sync(self) -> None:
        assert self._held is not None
        try:
            os.fdatasync(self._held.it.fd)
        except OSError as exc:
            raise from_os_error(exc, doing=f"sync a part of {self._upload.state.terms.path}") from exc

    def _verify(self) -> None:
        start = self._start
        if start.length not in (None, self.length):
            raise EnvdError(Code.INVALID_ARGUMENT, f"the part has {self.length} bytes, not {start.length} as announced")
        if self._sha256 is not None and self._sha256.hexdigest() != start.sha256:
            raise _other_content("SHA-256", self._sha256.hexdigest())
        if start.crc32 not in (None, self._crc32):
            raise _other_content("CRC-32", f"{self._crc32:08x}")


def _overtaken() -> EnvdError:
    return EnvdError(Code.ABORTED, "a part that began later sends the same bytes: this one was not received")


def _other_content(what: str, found: str) -> EnvdError:
    return EnvdError(
        Code.DATA_LOSS, f"the part has {what} {found}, not the one announced: it was not received, send it again"
    )


def _cut(pieces: list[bytes], segments: list[Segment]) -> Iterator[tuple[memoryview, int, bool]]:
    """Yield runs of bytes with their offset, and whether they were received before."""
    left = iter(segments)
    segment = next(left)
    at = segment.begin
    for piece in pieces:
        view = memoryview(piece)
        while view:
            if at == segment.end:
                segment = next(left)
            run = view[: segment.end - at]
            yield run, at, segment.there
            view, at = view[len(run) :], at + len(run)


def _write_all(fd: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _compare(fd: int, view: memoryview, offset: int) -> None:
    while view:
        found = os.pread(fd, min(len(view), _TOGETHER), offset)
        if not found or found != view[: len(found)]:
            raise EnvdError(
                Code.ALREADY_EXISTS,
                f"other bytes than those of this part were received before, from offset {offset} on; what was received "
                "never changes: abort the upload and begin again if it is wrong",
            )
        view, offset = view[len(found) :], offset + len(found)
