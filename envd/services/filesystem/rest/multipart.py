"""multipart/form-data as it arrives. Sources: RFC 2046, section 5.1; RFC 7578."""

from __future__ import annotations

from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.filesystem.unpacking import Source

from .disposition import parameters

_PIECE_BYTES = 1024 * 1024
_HEADER_BYTES = 16 * 1024  # of one part
_MOST_PARTS = 10_000
_PADDING_BYTES = 256  # blanks behind a boundary
_BOUNDARY_CHARS = 70


@dataclass(frozen=True, slots=True)
class PartHead:
    """The header of a part: the form field, and a file name if there is one."""

    field: str
    filename: str | None


def boundary_from(content_type: str) -> bytes:
    """Return the boundary a Content-Type names.

    Raises:
        EnvdError: INVALID_ARGUMENT if it names none, or one that is not allowed.
    """
    try:
        boundary = parameters(content_type)[1].get("boundary", "")
    except ValueError as exc:
        raise _malformed(f"the Content-Type has a {exc}") from exc
    if not boundary:
        raise _malformed("no multipart boundary param in Content-Type")
    if len(boundary) > _BOUNDARY_CHARS or not (boundary.isascii() and boundary.isprintable()) or boundary[-1] == " ":
        raise _malformed(f"a boundary has 1 to {_BOUNDARY_CHARS} printable characters and no blank at its end")
    return boundary.encode()


class Multipart:
    """The parts of one body, in turn: `next_part`, then `read` until it returns nothing.

    Holds one piece of the body, 1 MiB, and finds boundaries in it wherever pieces are cut.
    """

    def __init__(self, source: Source, boundary: bytes) -> None:
        self._source = source
        self._mark = b"\r\n--" + boundary
        self._data = b"\r\n"  # so that a boundary at the very beginning looks like any other
        self._position = 0
        self._parts = 0
        self._in_part = True  # what comes before the first boundary is skipped like a part
        self._closed = False

    async def next_part(self) -> PartHead | None:
        """Skip what is left of this part and return the next one; None after the last, with the body read to its end.

        Raises:
            EnvdError: INVALID_ARGUMENT if the body is malformed or ends too early.
        """
        while self._in_part:
            await self.read()
        if self._closed:
            while await self._source.read(_PIECE_BYTES):
                pass  # what comes after the last boundary means nothing
            return None
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _malformed(f"more than {_MOST_PARTS} parts: send them in several requests")
        self._in_part = True
        return _part_head(await self._header_block())

    async def read(self) -> bytes | memoryview:
        """Return the next bytes of the part, none at its end."""
        while self._in_part:
            mark = self._data.find(self._mark, self._position)
            end = mark if mark >= 0 else len(self._data) - self._begun_mark()
            if end > self._position:
                return self._take(end)
            if mark < 0:
                await self._more()
            elif await self._at_boundary():
                self._in_part = False
            else:
                return self._take(self._position + len(self._mark))
        return b""

    def _take(self, end: int) -> bytes | memoryview:
        begin, self._position = self._position, end
        if begin == 0 and end == len(self._data):
            return self._data
        return memoryview(self._data)[begin:end]

    def _begun_mark(self) -> int:
        """Return how many of the last bytes may be the beginning of a boundary."""
        start = max(self._position, len(self._data) - len(self._mark) + 1)
        while (start := self._data.find(b"\r", start)) >= 0:
            if self._mark.startswith(self._data[start:]):
                return len(self._data) - start
            start += 1
        return 0

    async def _at_boundary(self) -> bool:
        """Tell whether the boundary's text is one, and step behind it: it may be the beginning of other content."""
        while True:
            tail = self._data[self._position + len(self._mark) : self._position + len(self._mark) + _PADDING_BYTES]
            if tail.startswith(b"--"):
                self._closed = True
                return True
            line = tail.lstrip(b" \t")
            if line.startswith(b"\r\n"):
                self._position += len(self._mark) + len(tail) - len(line) + 2
                return True
            undecided = line in (b"", b"\r") or tail == b"-"
            if not undecided or len(tail) == _PADDING_BYTES:
                return False
            await self._more()

    async def _header_block(self) -> bytes:
        while True:
            if self._data.startswith(b"\r\n", self._position):
                self._position += 2
                return b""
            end = self._data.find(b"\r\n\r\n", self._position, self._position + _HEADER_BYTES)
            if end >= 0:
                block = self._data[self._position : end]
                self._position = end + 4
                return block
            if len(self._data) - self._position >= _HEADER_BYTES:
                raise _malformed(f"the headers of part {self._parts} are longer than {_HEADER_BYTES} bytes")
            await self._more()

    async def _more(self) -> None:
        piece = await self._source.read(_PIECE_BYTES)
        if not piece:
            where = f"inside part {self._parts}" if self._parts else "before the first boundary"
            raise _malformed(f"unexpected EOF: the body ends {where}, without its last boundary")
        self._data = self._data[self._position :] + piece if self._position < len(self._data) else piece
        self._position = 0


def _part_head(block: bytes) -> PartHead:
    text = block.decode("utf-8", "surrogateescape").replace("\r\n ", " ").replace("\r\n\t", " ")
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            try:
                kind, found = parameters(value)
            except ValueError as exc:
                raise _malformed(f"Content-Disposition has a {exc}") from exc
            return PartHead(found.get("name", "") if kind == "form-data" else "", found.get("filename"))
    return PartHead("", None)


def _malformed(why: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"error reading form: {why}")
