"""Values in a file in memory that outlives this process."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct

from envd.errors import Code, EnvdError, from_os_error

_PLACE = struct.Struct("<QQ")  # offset and length of the value
_FIRST = 4096
VALUE_BYTES = 16 * 1024 * 1024


class Record:
    """A value that is replaced as a whole: after a death at any instant a reader finds the old value or the new one.

    The new value is written beside the old one; then 16 bytes within one page, which no signal can divide, say where
    it is.

    Args:
        fd: of a memfd, which stays the caller's. One process at a time writes.
        begin: where in it, a multiple of 4096, as `value_bytes` is.
        value_bytes: the largest value. What is not written to takes no memory.
    """

    def __init__(self, fd: int, begin: int = 0, value_bytes: int = VALUE_BYTES) -> None:
        self._fd = fd
        self._begin = begin
        self._value_bytes = value_bytes
        self._places = (begin + _FIRST, begin + _FIRST + value_bytes)

    @staticmethod
    def span(value_bytes: int) -> int:
        """Return how many bytes of the file a record takes."""
        return _FIRST + 2 * value_bytes

    def read(self) -> bytes:
        """Return the value; empty before the first write.

        Raises:
            ValueError: another version, or something else, was written here.
        """
        offset, length = self._place()
        return _read(self._fd, length, offset)

    def write(self, value: bytes) -> None:
        """Replace the value and wipe the old one.

        Raises:
            EnvdError: there is no memory for it, or it is larger than `value_bytes`; the value is the old one.
        """
        if len(value) > self._value_bytes:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"the settings of the sandbox are larger than {self._value_bytes} bytes"
            )
        try:
            old = self._place()
        except ValueError:
            old = self._places[0], 0
        offset = self._places[old[0] == self._places[0]]
        try:
            _write(self._fd, value, offset)
            _write(self._fd, _PLACE.pack(offset, len(value)), self._begin)
            _wipe(self._fd, *old)
        except OSError as exc:
            raise from_os_error(exc, doing="keep the settings of the sandbox") from exc

    def _place(self) -> tuple[int, int]:
        head = os.pread(self._fd, _PLACE.size, self._begin)
        offset, length = _PLACE.unpack(head) if len(head) == _PLACE.size else (0, 0)
        offset = offset or self._places[0]
        if offset not in self._places or length > self._value_bytes:
            raise ValueError("no record of this layout")
        return offset, length


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _wipe(fd: int, offset: int, length: int) -> None:
    """Make zeros of it, and give its memory back; the offset is a multiple of 4096."""
    if not length:
        return
    with contextlib.suppress(OSError), mmap.mmap(fd, length, offset=offset) as memory:
        memory.madvise(mmap.MADV_REMOVE)
        return
    _write(fd, bytes(length), offset)


def _read(fd: int, length: int, offset: int) -> bytes:
    parts = []
    while length:
        part = os.pread(fd, length, offset)
        parts.append(part)
        length, offset = length - len(part), offset + len(part)
        if not part:
            raise ValueError("the record is cut short")
    return b"".join(parts)
