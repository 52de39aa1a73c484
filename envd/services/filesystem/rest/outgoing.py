"""A file while it is sent to a client. Everything here blocks."""

from __future__ import annotations

import errno
import os
import stat
import zlib

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.entries import etag_of
from envd.filesystem.reading import open_to_read

from .content_type import SNIFFED_BYTES

SMALL_BYTES = 64 * 1024
_SLICE_BYTES = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1  # 3 times as fast as the usual 6, and the network is seldom slower
_GONE = (errno.ENOENT, errno.ENOTDIR)
_KINDS = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Outgoing:
    """One regular file. A small one is read whole when it is opened, a large one comes in slices.

    Attributes:
        fd: of a large file, -1 otherwise.
        size: its bytes; None if it says 0, as those in /proc do, and has more than is small.
        content: of a small file all of it, of a large one its first bytes.
        etag: a strong validator; empty if the file does not say how large it is, and so neither when it changed.
        modified_s: its last change; None as `etag`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.size: int | None = 0
        self.content = b""
        self.etag = ""
        self.modified_s: int | None = None

    @property
    def closed(self) -> bool:
        """True if there is nothing to close."""
        return self.fd < 0

    @property
    def small(self) -> bool:
        """True if `content` is all there is."""
        return self.fd < 0

    def open(self) -> None:
        """Open it, and read what is small.

        Raises:
            EnvdError: NOT_FOUND; INVALID_ARGUMENT if it is a directory or no file to read.
        """
        try:
            self.fd = open_to_read(self.path, self._check)
            st = os.fstat(self.fd)
            self._check(st)
            self._begin(st)
        except OSError as exc:
            if exc.errno in _GONE:
                raise EnvdError(Code.NOT_FOUND, f"path '{self.path}' does not exist") from exc
            raise from_os_error(exc, doing=f"error opening file '{self.path}'") from exc

    def _check(self, st: os.stat_result) -> None:
        if stat.S_ISDIR(st.st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path '{self.path}' is a directory")
        if not stat.S_ISREG(st.st_mode):
            kind = _KINDS.get(stat.S_IFMT(st.st_mode), "no regular file")
            raise EnvdError(Code.INVALID_ARGUMENT, f"path '{self.path}' is {kind}: only regular files can be read")

    def _begin(self, st: os.stat_result) -> None:
        if st.st_size > SMALL_BYTES:
            self.size = st.st_size
            self.content = os.pread(self.fd, SNIFFED_BYTES, 0)
        else:
            self.content = self._read(st.st_size or SMALL_BYTES + 1)
            self.size = len(self.content) if len(self.content) <= SMALL_BYTES else None
        if st.st_size or not self.content:
            self.etag = f'"{etag_of(st)}"'
            self.modified_s = int(st.st_mtime)
        if self.size is not None and self.size <= SMALL_BYTES:
            self.close()

    def _read(self, count: int) -> bytes:
        """Read so many bytes from the beginning, or all there are."""
        pieces = []
        while count and (piece := os.read(self.fd, count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Slices:
    """The content of a file piece by piece, gzip on the way if asked for.

    Args:
        outgoing: open; of a known size exactly so many bytes are read.
    """

    def __init__(self, outgoing: Outgoing, *, gzip: bool) -> None:
        self._fd = outgoing.fd
        self._path = outgoing.path
        self._remaining = outgoing.size
        self._offset = 0
        self._packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP) if gzip else None
        self.ended = False

    def next(self) -> bytes:
        """Return the next piece, which may be empty before the end.

        Raises:
            EnvdError: ABORTED if the file has become shorter, or another code if it cannot be read.
        """
        want = _SLICE_BYTES if self._remaining is None else min(_SLICE_BYTES, self._remaining)
        try:
            data = os.pread(self._fd, want, self._offset)
        except OSError as exc:
            raise from_os_error(exc, doing=f"error reading file '{self._path}'") from exc
        self._offset += len(data)
        if self._remaining is None:
            self.ended = not data
        elif want and not data:
            raise EnvdError(
                Code.ABORTED, f"the file became shorter while it was sent: {self._remaining} bytes are missing"
            )
        else:
            self._remaining -= len(data)
            self.ended = not self._remaining
        if self._packer is None:
            return data
        packed = self._packer.compress(data)
        return packed + self._packer.flush() if self.ended else packed


def gzip_of(content: bytes) -> bytes:
    """Return a small content compressed."""
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
    return packer.compress(content) + packer.flush()
