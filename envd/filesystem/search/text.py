"""Files as text: opened without harm, read in windows of whole lines, with the way back from characters to bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from envd.filesystem.access import open_path

WHOLE_BYTES = 64 * 1024 * 1024
"""The largest file that is held in memory as a whole."""

_WINDOW_BYTES = 1024 * 1024
_MADE_UP_BYTES = 64 * 1024  # to read more of what the kernel makes up takes it long
_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_CARRIED_BYTES = 1024 * 1024
_LOOKED_AT_BYTES = 8192
READ_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags that open a file, and neither block nor take a terminal if it is something else by then."""


_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class BinaryError(Exception):
    """The file is binary."""


class TooLargeError(Exception):
    """The file is too large to be held in memory."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a file's characters.

    Attributes:
        crlf: every end of line is CR LF in the file and a newline in the text.
    """

    name: str = "utf-8"
    crlf: bool = False

    def size(self, text: str) -> int:
        """Return how many bytes of the file a piece of text is."""
        if self.name == "utf-8":
            size = len(text) if text.isascii() else len(self.encode(text))
            return size + text.count("\n") if self.crlf else size
        return len(self.stored(text))

    def encode(self, text: str) -> bytes:
        """Return the bytes of a piece of text, its ends of lines as they are in it."""
        return text.encode(self.name, "surrogateescape" if self.name == "utf-8" else "surrogatepass")

    def stored(self, text: str) -> bytes:
        """Return the bytes of a piece of text as they are in the file."""
        return self.encode(text.replace("\n", "\r\n") if self.crlf else text)


_UTF8 = Encoding()


@dataclass(frozen=True, slots=True)
class Window:
    """A run of whole lines.

    Attributes:
        begin: where in `text` what is new begins; before it are lines of the window before, for context.
        offset: in bytes, where in the file `text` begins.
        number: of the first line in `text`, from 1.
        size: bytes of the file that are new.
    """

    text: str
    begin: int
    offset: int
    number: int
    encoding: Encoding
    size: int


def open_file(path: str) -> tuple[int, os.stat_result] | None:
    """Open a regular file, or a link to one, to read it; None if it is something else. Never waits for a writer.

    Raises:
        OSError: it cannot be opened.
    """
    return regular(open_path(path, READ_FILE))


def regular(fd: int) -> tuple[int, os.stat_result] | None:
    """Return what is open, and its state, if it is a regular file; else close it."""
    try:
        st = os.fstat(fd)
        if stat.S_ISREG(st.st_mode):
            fd, opened = -1, fd
            return opened, st
        return None
    finally:
        if fd >= 0:
            os.close(fd)


def windows(fd: int, st: os.stat_result, *, context: int, binary: bool, needle: bytes = b"") -> Iterator[Window]:
    """Yield an open file window by window; as a whole if it is in UTF-16.

    A line longer than 16 MiB is cut there. What the kernel makes up and gives no size is read as far as 64 MiB.

    Of the window before, the last `context` lines come again. `binary` takes anything for text. Of a file that is read
    at once and has no `needle` in it there is no text: most files need not be looked at as characters.

    Raises:
        BinaryError: there is no text in it.
        TooLargeError: it is in UTF-16 and too large.
        OSError: it cannot be read.
    """
    source = _OpenFile(fd, st.st_size)
    data = source.next()  # it may be binary, and have no end of line for long
    if _encoding_of(data, binary=binary) is not _UTF8:
        os.lseek(fd, 0, os.SEEK_SET)
        yield whole(fd, st, binary=binary, crlf=False)
        return
    data, partial = source.lines(data)
    offset, number, carried = 0, 1, b""
    if data.startswith(_UTF8_MARK):
        data, offset = data[len(_UTF8_MARK) :], len(_UTF8_MARK)
    if source.ended and needle and needle not in data:
        yield Window("", 0, offset, 1, _UTF8, len(data))
        return
    while True:
        before = len(_decoded(carried)) if carried else 0
        all_data = carried + data if carried else data
        yield Window(_decoded(all_data), before, offset, number, _UTF8, len(data))
        if source.ended or (st.st_size == 0 and source.read >= WHOLE_BYTES):
            return
        carried = _last_lines(all_data, context)
        passed = len(all_data) - len(carried)
        offset += passed
        number += all_data.count(b"\n", 0, passed)
        data, partial = source.lines(partial)


class _OpenFile:
    """An open file.

    Attributes:
        read: bytes so far.
        ended: that was all.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.read = 0
        self.ended = False
        self._fd = fd
        self._size = size

    def lines(self, partial: bytes) -> tuple[bytes, bytes]:
        """Return the next whole lines, given the beginning of the first one, and the beginning of the one behind."""
        data, searched = partial, 0
        while not self.ended:
            end = data.rfind(b"\n", searched) + 1
            if end:
                return data[:end], data[end:]
            if len(data) >= _LONGEST_LINE_BYTES:
                return data, b""
            searched = len(data)
            data += self.next()
        return data, b""

    def next(self) -> bytes:
        """Return the next bytes; less than a window, or none, at the end."""
        remaining = self._size - self.read
        # One more than there should be tells the end of the file without another call.
        size = min(remaining + 1, _WINDOW_BYTES) if remaining > 0 else _MADE_UP_BYTES
        piece = os.read(self._fd, size)
        self.read += len(piece)
        # Files the kernel makes up end where nothing comes any more, not where less comes than was asked for.
        self.ended = not piece or (0 < self._size <= self.read and len(piece) < size)
        return piece


def whole(fd: int, st: os.stat_result, *, binary: bool, crlf: bool) -> Window:
    """Return an open file as one window.

    `crlf` shows newlines where all lines end in CR LF. `binary` takes anything for text.

    Raises:
        BinaryError: there is no text in it.
        TooLargeError: it is larger than 64 MiB.
        OSError: it cannot be read.
    """
    if st.st_size > WHOLE_BYTES:
        raise TooLargeError
    source = _OpenFile(fd, st.st_size)
    first = source.next()
    encoding = _encoding_of(first, binary=binary)
    data = first + _rest_of(source)
    mark = 3 if data.startswith(_UTF8_MARK) else 0 if encoding is _UTF8 else 2
    try:
        text = _decoded(data[mark:]) if encoding is _UTF8 else data[mark:].decode(encoding.name, "surrogatepass")
    except UnicodeDecodeError as exc:
        raise BinaryError from exc
    if crlf and "\r\n" in text and text.count("\r\n") == text.count("\n"):
        text, encoding = text.replace("\r\n", "\n"), Encoding(encoding.name, crlf=True)
    return Window(text, 0, mark, 1, encoding, len(data))


def _rest_of(source: _OpenFile) -> bytes:
    pieces: list[bytes] = []
    while not source.ended:
        pieces.append(source.next())
        if source.read > WHOLE_BYTES:
            raise TooLargeError
    return b"".join(pieces)


def _encoding_of(data: bytes, *, binary: bool) -> Encoding:
    name = _UTF16.get(data[:2])
    if name is not None and not binary:
        return Encoding(name)
    if not binary and data.find(b"\0", 0, _LOOKED_AT_BYTES) >= 0:
        raise BinaryError
    return _UTF8


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _last_lines(data: bytes, count: int) -> bytes:
    """Return the last whole lines, but no more than 1 MiB of them."""
    position = len(data)
    for _ in range(count):
        begin = data.rfind(b"\n", 0, max(position - 1, 0)) + 1
        if len(data) - begin > _CARRIED_BYTES:
            break
        position = begin
    return data[position:]
