"""One value in a file in memory that outlives this process."""

from __future__ import annotations

import os
import struct

from envd.errors import Code, EnvdError, from_os_error

_PLACE = struct.Struct("<QQ")  # offset and length of the value
_FIRST = 4096
VALUE_BYTES = 16 * 1024 * 1024
_SECOND = _FIRST + VALUE_BYTES  # what is not written to takes no memory


class Record:
    """Replaces its value as a whole: who reads it after a death at any instant finds the old value or the new one.

    The new value is written beside the old one; then 16 bytes within one page, which no signal can divide, say where
    it is.

    Args:
        fd: of a memfd, which stays the caller's. One process at a time writes.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> bytes:
        """Return the value; empty before the first write."""
        offset, length = self._place()
        return _read(self._fd, length, offset)

    def write(self, value: bytes) -> None:
        """Replace the value and wipe the old one.

        Raises:
            EnvdError: there is no memory for it, or it is larger than VALUE_BYTES; the value is the old one.
        """
        if len(value) > VALUE_BYTES:
            raise EnvdError(Code.RESOURCE_EXHAUSTED, f"what the sandbox is told is larger than {VALUE_BYTES} bytes")
        old = self._place()
        offset = _SECOND if old[0] == _FIRST else _FIRST
        try:
            _write(self._fd, value, offset)
            _write(self._fd, _PLACE.pack(offset, len(value)), 0)
            _write(self._fd, bytes(old[1]), old[0])
        except OSError as exc:
            raise from_os_error(exc, doing="keep what the sandbox was told") from exc

    def _place(self) -> tuple[int, int]:
        head = os.pread(self._fd, _PLACE.size, 0)
        offset, length = _PLACE.unpack(head) if head else (_FIRST, 0)
        return offset, length


def _write(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _read(fd: int, length: int, offset: int) -> bytes:
    parts = []
    while length:
        part = os.pread(fd, length, offset)
        parts.append(part)
        length, offset = length - len(part), offset + len(part)
        if not part:
            raise ValueError("the record is cut short")
    return b"".join(parts)
