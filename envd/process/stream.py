"""One output stream of a process: where it comes from and the journal it goes to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Protocol

from .journal import Journal

_SPLICE_BYTES = 1024 * 1024
_PIPE_BYTES = 64 * 1024
_BUSY_PIPE_BYTES = 256 * 1024


class Stream(Protocol):
    """A stream that ProcessOutput pumps. Owns its descriptors.

    Attributes:
        number: STDOUT, STDERR or PTY.
        paused: True while nothing is read because a subscriber has to catch up first.
    """

    @property
    def number(self) -> int:
        """STDOUT, STDERR or PTY."""

    @property
    def journal(self) -> Journal:
        """The journal that keeps its bytes."""

    paused: bool

    @property
    def open(self) -> bool:
        """True until its end."""

    @property
    def said_all(self) -> bool:
        """True if everything printed before `leader_ended` is in the journal."""

    def watch(self, ready: Callable[[], object]) -> None:
        """Call `ready` whenever there is something to splice, or its end."""

    def unwatch(self) -> None:
        """Stop calling; does nothing if it is not watched."""

    def splice(self, limit: int) -> int:
        """Move at most `limit` bytes to the journal; return how many, 0 at the end.

        Raises:
            BlockingIOError: there is nothing now.
        """

    def leader_ended(self) -> None:
        """Record that the process itself has ended, so that all that it printed is there."""

    def held_names(self) -> set[str]:
        """Return the names that /proc/PID/fd shows for a process that can still print to it."""

    def close(self) -> None:
        """Close its source; the journal stays. May be called again."""


class PipeStream:
    """A stream that comes through a pipe. Implements Stream.

    Attributes:
        pipe: non-blocking read end, -1 after its end.
    """

    __slots__ = ("_last_word", "_watched", "_widened", "journal", "number", "paused", "pipe")

    def __init__(self, number: int, journal: Journal, pipe: int) -> None:
        self.number = number
        self.journal = journal
        self.pipe = pipe
        self.paused = False
        self._widened = False
        self._watched = False
        self._last_word = 0

    @property
    def open(self) -> bool:
        """True while somebody can still write to the pipe."""
        return self.pipe >= 0

    @property
    def said_all(self) -> bool:
        """True if everything that was in the pipe at `leader_ended` is in the journal."""
        return self.journal.end >= self._last_word

    def watch(self, ready: Callable[[], object]) -> None:
        """Call `ready` whenever the pipe has something, or has ended."""
        asyncio.get_running_loop().add_reader(self.pipe, ready)
        self._watched = True

    def unwatch(self) -> None:
        """Stop calling."""
        if self._watched:
            asyncio.get_running_loop().remove_reader(self.pipe)
            self._watched = False

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

    def leader_ended(self) -> None:
        """Record that all that the process itself has printed is in the pipe or the journal."""
        self._last_word = self.journal.end + (readable_bytes(self.pipe) if self.open else 0)

    def held_names(self) -> set[str]:
        """Return the pipe as /proc shows it."""
        return {f"pipe:[{os.fstat(self.pipe).st_ino}]"}

    def close(self) -> None:
        """Close the pipe."""
        if self.open:
            self.unwatch()
            os.close(self.pipe)
            self.pipe = -1


def readable_bytes(fd: int) -> int:
    """Return how many bytes a pipe or terminal holds now."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])
