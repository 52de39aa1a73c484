"""A process's ledger: a small memfd beside its journals that a new server reads to know what the old one knew.

It holds the command, how far some reader has taken the output, and in which order pieces of the streams arrived.

Layout, little-endian: magic and version (8 bytes), taken offsets (3 x u64), length of the metadata (u64), index of the
first order record (u64), how many follow or are expected back (u64), their longest pause in milliseconds (u64); at 64
the metadata; from the next page on one page with what
is known of the process's end (length as u64, then bytes); from the page after that one page with what is known of
its input (idempotent_input.py); from the page after that order records of 8 bytes, the stream in the two top bits and
the offset at which the piece ends in the others.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections import deque

from .events import BEGINNING, Position
from .journal import punch

_MAGIC = b"envdldg"
_VERSION = 3
# envd 0.7.0 wrote this one: 1 for any number of subscribers, no pause, other records of input (idempotent_input.py).
# A later version than ours only adds, or has another magic.
OLDEST_VERSION = 2
_PAUSE_STEP_S = 0.25
_HEADER = struct.Struct("<8s3QQQQQ")
_TAKEN_AT = 8
_FIRST_AT = 40
_FOLLOWED_AT = 48
_PAUSE_AT = 56
_METADATA_AT = 64
_PAGE = 4096
_RECORD = struct.Struct("<Q")
_OFFSET_BITS = 62
_SEGMENTS = 65536
INPUT_BYTES = _PAGE


class Ledger:
    """Order of arrival, and how far it was taken. Owns the descriptor.

    At most 65536 pieces are remembered; the order of older ones is forgotten, not their bytes.

    Attributes:
        followed: how many follow or are expected back.
        pause_s: the longest time one of them left something untaken.
        version: of what was adopted.
    """

    def __init__(self, fd: int, metadata: bytes) -> None:
        self.fd = fd
        self.metadata = metadata
        self.taken: Position = BEGINNING
        self.followed = 1
        self.pause_s = 0.0
        self.version = _VERSION
        self._noted_pause_s = 0.0
        self._end_at = -(-(_METADATA_AT + len(metadata)) // _PAGE) * _PAGE
        self._input_at = self._end_at + _PAGE
        self._records_at = self._input_at + INPUT_BYTES
        self._segments: deque[tuple[int, int]] = deque()
        self._first = 0
        self._freed = 0
        self._current = -1

    @classmethod
    def create(cls, name: str, metadata: bytes) -> Ledger:
        """Make one for a process about to start."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
        magic = _MAGIC + b"%d" % _VERSION
        # The client that had it started is expected from the first byte on, whatever happens to this server.
        header = _HEADER.pack(magic, 0, 0, 0, len(metadata), 0, 1, 0)
        os.pwrite(fd, header.ljust(_METADATA_AT, b"\0") + metadata, 0)
        return cls(fd, metadata)

    @classmethod
    def adopt(cls, fd: int) -> Ledger:
        """Read what an earlier server wrote.

        Raises:
            ValueError: it is not a ledger, or older than version 2.
        """
        magic, *taken, size, first, followed, pause_ms = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
        version = magic[len(_MAGIC) :]
        if not magic.startswith(_MAGIC) or not version.isdigit() or int(version) < OLDEST_VERSION:
            raise ValueError("not a ledger of a version that can be read")
        ledger = cls(fd, os.pread(fd, size, _METADATA_AT))
        ledger.version = int(version)
        ledger.followed = followed
        ledger.pause_s = ledger._noted_pause_s = pause_ms / 1000
        ledger.taken = (taken[0], taken[1], taken[2])
        ledger._first = ledger._freed = first
        ledger._load()
        return ledger

    def _load(self) -> None:
        offset = self._records_at + self._first * _RECORD.size
        data = os.pread(self.fd, max(os.fstat(self.fd).st_size - offset, 0), offset)
        for (value,) in _RECORD.iter_unpack(data[: len(data) // _RECORD.size * _RECORD.size]):
            self._segments.append((value >> _OFFSET_BITS, value & ((1 << _OFFSET_BITS) - 1)))

    def write_end(self, end: bytes) -> None:
        """Keep a record of the process's end, at most a page less 8 bytes; replaces what was kept."""
        if self.fd >= 0:
            os.pwrite(self.fd, _RECORD.pack(len(end)) + end, self._end_at)

    def read_end(self) -> bytes:
        """Return what write_end kept last, empty for nothing."""
        data = os.pread(self.fd, _PAGE, self._end_at)
        if len(data) < _RECORD.size:
            return b""
        (size,) = _RECORD.unpack_from(data)
        return data[_RECORD.size : _RECORD.size + size]

    def write_input(self, offset: int, record: bytes) -> None:
        """Keep something about the process's input, at a place within INPUT_BYTES."""
        if self.fd >= 0:
            os.pwrite(self.fd, record, self._input_at + offset)

    def read_input(self) -> bytes:
        """Return what write_input kept, zeros where nothing was; at most INPUT_BYTES, less for nothing at the end."""
        return os.pread(self.fd, INPUT_BYTES, self._input_at)

    def take(self, position: Position) -> None:
        """Note that a reader surely has everything before `position`."""
        self.taken = (
            max(self.taken[0], position[0]),
            max(self.taken[1], position[1]),
            max(self.taken[2], position[2]),
        )
        if self.fd >= 0:
            os.pwrite(self.fd, struct.pack("<3Q", *self.taken), _TAKEN_AT)

    def settle(self, ends: list[int]) -> None:
        """Close the pieces that were open when an earlier server was killed, so that later ones come after them."""
        covered = [0] * len(ends)
        for stream, end in self._segments:
            covered[stream] = end
        for stream, end in enumerate(ends):
            if end > covered[stream]:
                self._append(stream, end)

    def set_followed(self, count: int) -> None:
        """Note how many follow or are expected back."""
        if count != self.followed and self.fd >= 0:
            self.followed = count
            os.pwrite(self.fd, _RECORD.pack(count), _FOLLOWED_AT)

    def set_pause(self, pause_s: float) -> None:
        """Note for how long a subscriber has left something untaken, to a quarter of a second."""
        self.pause_s = pause_s
        if pause_s >= self._noted_pause_s + _PAUSE_STEP_S and self.fd >= 0:
            self._noted_pause_s = pause_s
            os.pwrite(self.fd, _RECORD.pack(round(pause_s * 1000)), _PAUSE_AT)

    def arrived(self, stream: int, ends: list[int]) -> None:
        """Note that bytes of a stream arrive now; `ends` are the streams' lengths without them."""
        if stream == self._current:
            return
        previous, self._current = self._current, stream
        if previous < 0:
            return
        self._append(previous, ends[previous])

    def _append(self, stream: int, end: int) -> None:
        index = self._first + len(self._segments)
        self._segments.append((stream, end))
        os.pwrite(self.fd, _RECORD.pack(stream << _OFFSET_BITS | end), self._records_at + index * _RECORD.size)
        if len(self._segments) > _SEGMENTS:
            self._drop()

    def next_piece(self, segment: int, offsets: list[int], ends: list[int]) -> tuple[int, int, int] | None:
        """Find what a reader at `offsets` reads next: (segment to ask from next time, stream, offset of its end)."""
        offset = max(segment - self._first, 0)
        while offset < len(self._segments):
            stream, end = self._segments[offset]
            if offsets[stream] < end:
                return self._first + offset, stream, end
            offset += 1
        for stream in (self._current, *range(len(ends))):
            if stream >= 0 and offsets[stream] < ends[stream]:
                return self._first + offset, stream, ends[stream]
        return None

    def forget_before(self, heads: list[int]) -> None:
        """Drop records of bytes that are no longer kept."""
        while self._segments and self._segments[0][1] <= heads[self._segments[0][0]]:
            self._drop()

    def _drop(self) -> None:
        self._segments.popleft()
        self._first += 1
        if (self._first - self._freed) * _RECORD.size >= _PAGE:
            os.pwrite(self.fd, _RECORD.pack(self._first), _FIRST_AT)
            begin = self._records_at + self._freed * _RECORD.size
            end = self._records_at + self._first * _RECORD.size
            if end // _PAGE > begin // _PAGE:
                with contextlib.suppress(OSError):  # they stay: eight bytes each
                    punch(self.fd, begin - begin % _PAGE, end - end % _PAGE)
            self._freed = self._first

    def close(self) -> None:
        """Close the memory file; the attributes stay."""
        os.close(self.fd)
        self.fd = -1
