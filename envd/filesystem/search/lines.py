"""Reads ranges of lines. Everything here blocks."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import open_path
from envd.filesystem.entries import check_match, etag_of

from .text import open_file

_PIECE_BYTES = 256 * 1024
_COUNTED_BYTES = 8 * 1024 * 1024  # lines of a file of this size are always counted
_BREATH_S = 20e-6  # to count the lines of a piece keeps the loop from running for 20 us
_NEWLINE = b"\n"


@dataclass(frozen=True, slots=True)
class Range:
    """A range of lines to read.

    Attributes:
        first, last: from 1; negative: from the end, -1 the last one. `last` 0: to the end.
        max_bytes: at most.
        offset: where the line `first` begins, if the caller knows.
        count: count all lines.
    """

    first: int = 1
    last: int = 0
    max_bytes: int = 256 * 1024
    offset: int | None = None
    count: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that were read; fields as in the contract's ReadLinesResponse."""

    data: bytes
    first_line: int
    offset: int
    next_line: int
    cut: bool
    more: bool
    total: int | None
    ends_with_newline: bool | None
    size: int
    etag: str

    @property
    def lines(self) -> int:
        """How many lines there are in the data, a part of one included."""
        return self.data.count(_NEWLINE) + (self.data[-1:] not in (b"", _NEWLINE))


def read_lines(path: str, lines: Range, if_match: str | None, stopped: Callable[[], bool]) -> Lines:
    """Read lines of a regular file, or of a link to one.

    `stopped` is asked now and then; once it says so, the work is given up.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is no regular file, FAILED_PRECONDITION if its etag is another, CANCELED.
    """
    try:
        fd = open_path(path, os.O_PATH)
        st = os.fstat(fd)
        os.close(fd)
        if stat.S_ISDIR(st.st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {path}")
        # Before it is opened: opening a device may do something.
        opened = open_file(path) if stat.S_ISREG(st.st_mode) else None
        if opened is None:
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is a fifo, socket or device: {path}")
        fd, st = opened
        try:
            check_match(path, st, if_match)
            return _LineReader(fd, st, stopped).read(lines)
        finally:
            os.close(fd)
    except OSError as exc:
        raise from_os_error(exc, doing=f"read {path}") from exc


class _LineReader:
    """An open file of which lines are read."""

    def __init__(self, fd: int, st: os.stat_result, stopped: Callable[[], bool]) -> None:
        self._fd = fd
        self._stopped = stopped
        self._etag = etag_of(st)
        # What the kernel makes up says it is empty.
        self._made_up = _made_up(fd) if st.st_size == 0 else None
        self._size = st.st_size if self._made_up is None else len(self._made_up)
        self._ended = self._piece(self._size - 1, 1) == _NEWLINE if self._size else None

    def read(self, lines: Range) -> Lines:
        """Read what is wanted."""
        total = self._newlines(0, self._size) + (self._ended is False) if self._counts(lines) else None
        begin, number = self._begin(lines, total)
        end = self._end(lines)
        lines_left = lines.last - number + 1 if lines.last > 0 and number else None
        data, more = self._data(begin, end, lines_left, lines.max_bytes)
        cut = more and data[-1:] != _NEWLINE
        following = number + data.count(_NEWLINE) if number else 0
        if total is None and begin + len(data) == self._size and following:
            total = following - 1 + (self._ended is False)
        return Lines(data, number, begin, following, cut, more, total, self._ended, self._size, self._etag)

    def _counts(self, lines: Range) -> bool:
        return lines.count or self._size <= _COUNTED_BYTES or (lines.first < 0 < lines.last)

    def _begin(self, lines: Range, total: int | None) -> tuple[int, int]:
        """Return where the first line begins, and its number; 0 if that is not known."""
        if lines.first < 0:
            begin = self._from_end(-lines.first)
            if begin == 0:
                return 0, 1
            return begin, 0 if total is None else total + lines.first + 1
        if lines.offset is not None:
            return min(lines.offset, self._size), max(lines.first, 1)
        begin = self._from_start(max(lines.first, 1) - 1)
        return begin, max(lines.first, 1)

    def _end(self, lines: Range) -> int:
        return self._from_end(-lines.last - 1) if lines.last < -1 else self._size

    def _data(self, begin: int, end: int, lines_left: int | None, limit: int) -> tuple[bytes, bool]:
        """Return what there is from `begin` on, and whether more of what is wanted was left out.

        What is wanted ends at `end`, or after `lines_left` lines; None: no such number.
        """
        if end <= begin or (lines_left is not None and lines_left <= 0):
            return b"", False
        data = self._piece(begin, min(end - begin, limit))
        if lines_left is not None and data.count(_NEWLINE) >= lines_left:
            return data[: _nth_newline(data, lines_left) + 1], False
        if begin + len(data) >= end:
            return data, False
        complete_bytes = data.rfind(_NEWLINE) + 1
        return (data[:complete_bytes] if complete_bytes else _whole_characters(data)), True

    def _from_start(self, lines: int) -> int:
        """Return where the line behind so many begins; the end if there are not so many."""
        position = 0
        while lines and position < self._size:
            piece = self._piece(position, _PIECE_BYTES)
            count = piece.count(_NEWLINE)
            if count >= lines:
                return position + _nth_newline(piece, lines) + 1
            if not piece:
                break
            lines -= count
            position += len(piece)
            self._breathe()
        return min(position, self._size)

    def _from_end(self, lines: int) -> int:
        """Return where the last so many lines begin; 0 if there are not so many."""
        if not lines:
            return self._size
        # The end of the last line, if it has one, is not before any line of these.
        return self._behind_newline(self._size, lines + 1 if self._ended else lines)

    def _behind_newline(self, position: int, count: int) -> int:
        """Return what is behind the so manyth end of a line before a place; 0 if there are not so many."""
        while position > 0:
            begin = max(position - _PIECE_BYTES, 0)
            piece = self._piece(begin, position - begin)
            newlines = piece.count(_NEWLINE)
            if newlines >= count:
                return begin + _nth_newline(piece, newlines - count + 1) + 1
            count -= newlines
            position = begin
            self._breathe()
        return 0

    def _newlines(self, begin: int, end: int) -> int:
        count = 0
        while begin < end:
            piece = self._piece(begin, min(end - begin, _PIECE_BYTES))
            if not piece:
                break
            count += piece.count(_NEWLINE)
            begin += len(piece)
            self._breathe()
        return count

    def _piece(self, begin: int, size: int) -> bytes:
        if self._made_up is not None:
            return self._made_up[begin : begin + size]
        return os.pread(self._fd, size, begin)

    def _breathe(self) -> None:
        if self._stopped():
            raise EnvdError(Code.CANCELED, "read lines: the client went away")
        time.sleep(_BREATH_S)


def _made_up(fd: int) -> bytes:
    data = b""
    while len(data) < _COUNTED_BYTES and (piece := os.read(fd, _PIECE_BYTES)):
        data += piece
    return data


def _nth_newline(data: bytes, number: int) -> int:
    """Return where an end of a line is, counted from 1; there are so many."""
    low, high = 0, len(data)
    while high - low > 1:
        middle = (low + high) // 2
        count = data.count(_NEWLINE, low, middle)
        if count >= number:
            high = middle
        else:
            number -= count
            low = middle
    return low


def _whole_characters(data: bytes) -> bytes:
    """Return data without the beginning of a character of UTF-8 at its end, unless that is all."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if needed > back and back < len(data) else data
    return data
