"""One output stream of a program: the pipe it comes from and the journal it goes to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios

from .journal import Journal

_SPLICE_BYTES = 1024 * 1024
_PIPE_BYTES = 64 * 1024
_BUSY_PIPE_BYTES = 256 * 1024


class Stream:
    """Owns its descriptors.

    Attributes:
        number: STDOUT, STDERR or PTY.
        pipe: non-blocking read end, -1 after its end.
        paused: True while nothing is read because a follower has to catch up first.
    """

    __slots__ = ("_widened", "journal", "number", "paused", "pipe")

    def __init__(self, number: int, journal: Journal, pipe: int) -> None:
        self.number = number
        self.journal = journal
        self.pipe = pipe
        self.paused = False
        self._widened = False

    @property
    def pipe_inode(self) -> int:
        """Inode number of the pipe."""
        return os.fstat(self.pipe).st_ino

    def pending(self) -> int:
        """Return how many bytes the pipe holds now."""
        if self.pipe < 0:
            return 0
        return int(struct.unpack("i", fcntl.ioctl(self.pipe, termios.FIONREAD, b"\0\0\0\0"))[0])

    def splice(self, limit: int) -> int:
        """Move at most `limit` bytes from pipe to journal; return how many, 0 at the pipe's end.

        Raises:
            BlockingIOError: the pipe is empty.
        """
        moved = self.journal.splice_from(self.pipe, min(limit, _SPLICE_BYTES))
        if moved >= _PIPE_BYTES and not self._widened:
            self._widened = True
            with contextlib.suppress(OSError):  # the user's share of pipe memory is used up
                fcntl.fcntl(self.pipe, fcntl.F_SETPIPE_SZ, _BUSY_PIPE_BYTES)
        return moved

    def close_pipe(self) -> None:
        """Let go of the pipe."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
