"""Reads files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from envd.errors import Code, EnvdError, from_os_error

from .access import open_and_look, open_path, reopen
from .entries import Entry, check_match, entry_of

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LAST = (1 << 63) - 1  # the largest offset pread(2) takes


@dataclass(frozen=True, slots=True)
class FileReader:
    """A regular file open for reading.

    Attributes:
        entry: as it was when the file was opened.
        state: of the open file.
        begin: offset of the first byte to read.
        length: how many there are to read, as far as the file's size tells.
        limit: how many to read at most; None: to the end.
    """

    fd: int
    entry: Entry
    state: os.stat_result
    begin: int
    length: int
    limit: int | None

    def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes behind the first `position`; nothing at the end. Blocks.

        Raises:
            EnvdError: ABORTED if the file is shorter now than it was.
        """
        if self.limit is not None:
            size = min(size, self.limit - position)
        offset = self.begin + position
        if size <= 0 or offset + size > _LAST:
            return b""
        try:
            data = os.pread(self.fd, size, offset)
            if not data and position < self.length:
                self._check_unchanged(position)
        except OSError as exc:
            raise from_os_error(exc, doing=f"read {self.entry.path}") from exc
        return data

    def _check_unchanged(self, position: int) -> None:
        # Some files that the kernel makes up, as in /sys, have a size that is not that of their content.
        state = os.fstat(self.fd)
        if (state.st_size, state.st_mtime_ns) != (self.state.st_size, self.state.st_mtime_ns):
            raise EnvdError(
                Code.ABORTED,
                f"{self.entry.path} became shorter while it was read: {position} of {self.length} bytes were there",
            )

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def open_file(path: str, offset: int, limit: int | None, if_match: str | None) -> FileReader:
    """Open a regular file, or a link to one, to read a range of it. Blocks.

    Raises:
        EnvdError: NOT_FOUND if it is not there, INVALID_ARGUMENT if it is something else, FAILED_PRECONDITION if its
            etag is another.
    """
    entry = entry_of(path)
    try:
        fd = open_to_read(path, partial(_check_regular, path))
    except OSError as exc:
        raise from_os_error(exc, doing=f"open {path}") from exc
    try:
        st = os.fstat(fd)
        _check_regular(path, st)
        check_match(path, st, if_match)
        remaining = max(st.st_size - offset, 0)
        return FileReader(fd, entry, st, offset, remaining if limit is None else min(remaining, limit), limit)
    except EnvdError:
        os.close(fd)
        raise


def open_to_read(path: str, check: Callable[[os.stat_result], None]) -> int:
    """Open what a client's path leads to, after it was checked: opening a device may do something. Blocks.

    Raises:
        OSError: it cannot be opened.
    """
    fd, st = open_and_look(path, os.O_PATH)
    try:
        check(st)
        try:
            return reopen(fd, _READ)
        except FileNotFoundError:  # without /proc
            return open_path(path, _READ)
    finally:
        os.close(fd)


def _check_regular(path: str, st: os.stat_result) -> None:
    if stat.S_ISDIR(st.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {path}")
    if not stat.S_ISREG(st.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a fifo, socket or device: {path}")
