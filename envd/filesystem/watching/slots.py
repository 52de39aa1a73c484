"""Logs in a file in memory that outlives this process."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import zlib
from collections.abc import Iterable, Iterator

# The file is one memfd of the keeper's. It is sparse: each log has room for more than there will ever be, and what is
# dropped is punched out. A log is written anew into its other half; then one number says which half counts.
_SLOT_BYTES = 1 << 36
_FIRST = 4096
_HALF_BYTES = (_SLOT_BYTES - _FIRST) // 2
_HEAD = struct.Struct("<Q")
_RECORD = struct.Struct("<II")  # length, CRC-32
_PIECE_BYTES = 1 << 20
_PUNCH_HOLE_KEEP_SIZE = 3  # fallocate(2)

_libc = ctypes.CDLL(None, use_errno=True)


class WatchSlot:
    """One log of records. After a death at any instant a reader finds whole records, all but perhaps the last.

    Attributes:
        size: bytes of all records.
        taken: a watch uses it.
    """

    def __init__(self, fd: int, number: int) -> None:
        self._fd = fd
        self._base = number * _SLOT_BYTES
        head = os.pread(fd, _HEAD.size, self._base)
        self._half = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0
        self._prepared_bytes = 0
        self.size = 0
        self.taken = self._half != 0

    def read(self) -> Iterator[bytes]:
        """Yield the records; what is appended later goes behind the last one that is whole."""
        self.size = 0
        start = self._start(self._half)
        while True:
            head = os.pread(self._fd, _RECORD.size, start + self.size)
            if len(head) < _RECORD.size:
                return
            length, checksum = _RECORD.unpack(head)
            record = os.pread(self._fd, length, start + self.size + _RECORD.size) if length else b""
            if not length or len(record) < length or zlib.crc32(record) != checksum:
                return
            self.size += _RECORD.size + length
            yield record

    @property
    def written(self) -> bool:
        """There are records."""
        return self._half != 0

    def append(self, record: bytes) -> None:
        """Add a record, which is not empty.

        Raises:
            OSError: there is no memory for it.
        """
        self.size += self._write(record, self._start(self._half) + self.size)

    def prepare(self, records: Iterable[bytes]) -> None:
        """Write other records beside those there are, which stay those that count, and can be appended to meanwhile.

        Raises:
            OSError: there is no memory for them.
        """
        start = self._start(self._other)
        self._punch(start, _HALF_BYTES)
        size = 0
        for record in records:
            size += self._write(record, start + size)
        self._prepared_bytes = size

    def switch(self, records: Iterable[bytes]) -> None:
        """Have the prepared records count, and some more behind them.

        Raises:
            OSError: there is no memory for those; the old records count.
        """
        size = self._prepared_bytes
        for record in records:
            size += self._write(record, self._start(self._other) + size)
        os.pwrite(self._fd, _HEAD.pack(self._other), self._base)
        self._half, self.size = self._other, size

    def tidy(self) -> None:
        """Free the memory of the records that do not count any more."""
        self._punch(self._start(self._other), _HALF_BYTES)

    def free(self) -> None:
        """Drop all records."""
        os.pwrite(self._fd, _HEAD.pack(0), self._base)
        self._half = self.size = 0
        self._punch(self._base, _FIRST)
        for half in (1, 2):
            self._punch(self._start(half), _HALF_BYTES)
        self.taken = False

    @property
    def _other(self) -> int:
        return 2 if self._half == 1 else 1

    def _start(self, half: int) -> int:
        return self._base + _FIRST + (half - 1) * _HALF_BYTES

    def _write(self, record: bytes, offset: int) -> int:
        view = memoryview(_RECORD.pack(len(record), zlib.crc32(record)) + record)
        size = len(view)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written
        return size

    def _punch(self, offset: int, length: int) -> None:
        arguments = ctypes.c_int64(offset), ctypes.c_int64(length)
        if _libc.fallocate(self._fd, _PUNCH_HOLE_KEEP_SIZE, *arguments) < 0:
            number = ctypes.get_errno()
            if number not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise OSError(number, os.strerror(number))
            self._clear(offset, offset + length)

    def _clear(self, begin: int, end: int) -> None:
        """Overwrite what is there, where there are no holes: its memory is used by what comes next."""
        end = min(end, os.fstat(self._fd).st_size)
        while begin < end:
            data = os.pread(self._fd, min(_PIECE_BYTES, end - begin), begin)
            if not data.strip(b"\0"):
                return  # records follow one another
            os.pwrite(self._fd, bytes(len(data)), begin)
            begin += len(data)


class WatchSlots:
    """A fixed number of logs.

    Args:
        fd: of the memfd, which stays the caller's. One process at a time writes.
    """

    def __init__(self, fd: int, count: int) -> None:
        self._slots = [WatchSlot(fd, number) for number in range(count)]

    def taken(self) -> list[WatchSlot]:
        """Return those that watches use; at first, those with something in them."""
        return [slot for slot in self._slots if slot.taken]

    def take(self) -> WatchSlot | None:
        """Return one that no watch uses, which is taken then; None if there is none."""
        slot = next((slot for slot in self._slots if not slot.taken), None)
        if slot is not None:
            slot.taken = True
        return slot
