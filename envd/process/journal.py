"""An output stream's journal: an append-only memfd whose file position is the stream's length.

The position is shared with the keeper's duplicate, and `splice` moves it together with the bytes. A server that is
killed at any instant therefore leaves both as they were before or after a whole step, and its successor goes on there.
"""

from __future__ import annotations

import errno
import mmap
import os

_PAGE = mmap.PAGESIZE
_NOT_HERE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what gVisor says of holes in a file
_LOOKED_THROUGH_BYTES = 64 * 1024 * 1024  # more than is ever kept of one stream


def punch(fd: int, begin: int, end: int) -> None:
    """Free the memory of whole pages [begin, end) of a memfd; its size stays. Source: madvise(2), MADV_REMOVE."""
    with mmap.mmap(fd, end - begin, offset=begin) as pages:
        pages.madvise(mmap.MADV_REMOVE)


class Journal:
    """Bytes [head, end) of one stream. Owns the descriptor.

    Attributes:
        fd: the memfd.
        head: offset of the first byte kept.
        end: offset behind the last byte.
    """

    __slots__ = ("end", "fd", "head")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.end = os.lseek(fd, 0, os.SEEK_CUR)
        self.head = _first_kept(fd, self.end)

    @classmethod
    def create(cls, name: str) -> Journal:
        """Make an empty one."""
        return cls(os.memfd_create(name, os.MFD_CLOEXEC))

    @property
    def kept(self) -> int:
        """Bytes kept."""
        return self.end - self.head

    def splice_from(self, pipe: int, limit: int) -> int:
        """Move what a pipe holds, at most `limit` bytes, into the journal; 0 at the pipe's end.

        Raises:
            BlockingIOError: the pipe is empty.
        """
        moved = os.splice(pipe, self.fd, limit)
        self.end += moved
        return moved

    def append(self, data: bytes) -> None:
        """Add bytes of our own."""
        self.end += os.write(self.fd, data)

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes from `offset` on, at most `size`."""
        return os.pread(self.fd, min(size, self.end - offset), offset)

    def trim(self, to: int) -> int:
        """Drop what lies before `to`, rounded down to a page; return how many bytes that freed."""
        to -= to % _PAGE
        freed = to - self.head
        if freed <= 0:
            return 0
        try:
            punch(self.fd, self.head - self.head % _PAGE, to)
        except OSError as exc:
            # No descriptor or memory for it now: the next trim tries again.
            if exc.errno not in _NOT_HERE or not self._cut(to):
                return 0
        self.head = to
        return freed

    def _cut(self, to: int) -> bool:
        """Trim a file that cannot have holes: empty it and put back the kept bytes, once they are the lesser part.

        The position stays. A kill in between takes what is kept: of all bytes those that may be dropped next.
        """
        kept = self.end - to
        if to - self.head < kept:
            return False
        data = os.pread(self.fd, kept, to)
        os.ftruncate(self.fd, 0)
        os.ftruncate(self.fd, self.end)
        os.pwrite(self.fd, data, to)
        return True

    def close(self) -> None:
        """Close the memory file; the keeper may still hold it. May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _first_kept(fd: int, end: int) -> int:
    """Find where the holes end. On a description of its own: seeking would move the shared position."""
    if end == 0:
        return 0
    own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return min(os.lseek(own, 0, os.SEEK_DATA), end)
    except OSError as exc:
        return end if exc.errno not in _NOT_HERE else _first_written(own, end)  # nothing but holes
    finally:
        os.close(own)


def _first_written(fd: int, end: int) -> int:
    """Find where the holes end if the kernel does not say: at the first page that is not all zeros.

    A stream that begins with whole pages of zeros is told to have lost them; what is kept is never told wrong.
    """
    begin = max(end - _LOOKED_THROUGH_BYTES, 0)
    for offset in range(begin - begin % _PAGE, end, _PAGE):
        if os.pread(fd, min(_PAGE, end - offset), offset).strip(b"\0"):
            return offset
    return end
