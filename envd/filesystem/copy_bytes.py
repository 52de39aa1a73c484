"""Copies content between open files."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os

_AT_ONCE = 64 * 1024 * 1024
_PIECE = 1024 * 1024
# copy_file_range(2): between file systems, or of files the kernel makes up.
_NOT_SO = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.ETXTBSY)

_KEEP_SIZE, _UNSHARE = 0x01, 0x40  # fallocate(2)
_NO_FALLOCATE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_BLOCK = 512  # stat(2): of st_blocks

_libc = ctypes.CDLL(None, use_errno=True)


def copy(source: int, target: int) -> int:
    """Copy everything from one open file into another, empty one; holes stay holes. Blocks.

    Returns:
        The size of the content, holes included.
    """
    size = os.fstat(source).st_size
    if size == 0:
        return _copy_piecewise(source, target)  # a file the kernel makes up has no size
    end = 0
    while end < size:
        begin, end = _next_data(source, end, size)
        if begin < end:
            end = begin + _copy_range(source, target, begin, end)
            if end == begin:
                size = end  # it became shorter
    os.ftruncate(target, size)
    return size


def overwrite(source: int, target: int) -> None:
    """Make one open file's content that of another; there has to be room for it. Blocks."""
    size = os.fstat(source).st_size
    os.ftruncate(target, _copy_range(source, target, 0, size))  # less, if it became shorter


def allocate(fd: int, size: int) -> None:
    """Have room for so many bytes of content in an open file, which stays as long as it is. Blocks.

    Raises:
        OSError: ENOSPC or EDQUOT if there is none.
    """
    st = os.fstat(fd)
    _fallocate(fd, _UNSHARE, min(size, st.st_size))  # where blocks can be shared, writing to them takes others
    missing = size - st.st_blocks * _BLOCK
    if missing <= 0 and size <= st.st_size <= st.st_blocks * _BLOCK:
        return
    disk = os.fstatvfs(fd)
    if disk.f_blocks and disk.f_bfree * disk.f_frsize < missing:  # so nothing is touched in vain
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if not _fallocate(fd, _KEEP_SIZE, size) and disk.f_blocks:  # the C library would write to make room
        os.posix_fallocate(fd, 0, size)


def _fallocate(fd: int, mode: int, size: int) -> bool:
    """Return False if the file system cannot do that."""
    if size <= 0:
        return True
    if _libc.fallocate(fd, mode, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_FALLOCATE:
        return False
    raise OSError(number, os.strerror(number))


def sha256_of(fd: int) -> bytes:
    """Return the SHA-256 of an open file's whole content. Blocks."""
    digest = hashlib.sha256()
    offset = 0
    while piece := os.pread(fd, _PIECE, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.digest()


def check_readable(fd: int) -> None:
    """Read an open file to its end, so that what comes next does not fail in the midst of it. Blocks.

    Raises:
        OSError: it cannot be read.
    """
    offset = 0
    while piece := os.pread(fd, _PIECE, offset):
        offset += len(piece)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of it. Blocks."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _next_data(fd: int, offset: int, size: int) -> tuple[int, int]:
    """Return the next range with data in it; an empty one at the end if there is none."""
    try:
        begin = os.lseek(fd, offset, os.SEEK_DATA)
        return begin, min(os.lseek(fd, begin, os.SEEK_HOLE), size)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return size, size
        return offset, size  # no holes known here


def _copy_range(source: int, target: int, begin: int, end: int) -> int:
    """Return how many bytes of the range there were."""
    position = begin
    while position < end:
        try:
            copied = os.copy_file_range(source, target, min(end - position, _AT_ONCE), position, position)
        except OSError as exc:
            if exc.errno not in _NOT_SO:
                raise
            copied = _copy_piece(source, target, position, end)
        if not copied:
            break
        position += copied
    return position - begin


def _copy_piece(source: int, target: int, position: int, end: int) -> int:
    piece = os.pread(source, min(end - position, _PIECE), position)
    written = 0
    while written < len(piece):
        written += os.pwrite(target, piece[written:], position + written)
    return len(piece)


def _copy_piecewise(source: int, target: int) -> int:
    position = 0
    while copied := _copy_piece(source, target, position, position + _PIECE):
        position += copied
    return position
