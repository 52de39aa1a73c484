"""The output of a process in a terminal, and the terminal itself."""

from __future__ import annotations

import asyncio
import errno
import os
import select
from collections.abc import Callable

from . import tty
from .events import PTY
from .journal import Journal
from .stream import readable_bytes
from .tty import Size

_READ_BYTES = 4096  # the kernel hands out no more at once, and `splice` allocates pages for what it is asked for
_READS = 8
_UNREAD_BYTES = 64 * 1024  # more than a terminal holds: 4 KiB to read and 8 KiB of buffers, or twice that
_LOOK_AGAIN_S = 0.01
_LOOK_AGAIN_AT_MOST_S = 1.0


class TerminalStream:
    """A stream that comes from a terminal, and the terminal's master side. Implements Stream.

    Bytes go master -> relay -> journal, both steps by `splice`. The relay is a pipe that the keeper holds too, so what
    is between the steps when the server is killed is there for the next one. Measured: 150 to 180 MB/s, where read and
    write, which lose what they hold, reach 120; an echo takes 3 to 6 us more.

    A terminal that nobody has open reads as EIO. After the end of the process that is its end. Before, it may be opened
    again (by the name /dev/tty), so it is looked at from time to time, up to a second apart.

    Args:
        master: non-blocking, -1 after its end.
        relay: read and write end of the pipe between.
        last_size: what `size` says once there is no terminal any more.
    """

    number = PTY

    def __init__(self, journal: Journal, master: int, relay: tuple[int, int], last_size: Size) -> None:
        self.journal = journal
        self.paused = False
        self._master = master
        self._relay_out, self._relay_in = relay
        self._relayed = readable_bytes(self._relay_out) if master >= 0 else 0
        self._last_size = last_size
        self._ready: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause_s = 0.0
        self._leader_ended = False
        self._last_word = 0

    # Its output.

    @property
    def open(self) -> bool:
        """True while somebody can still print."""
        return self._master >= 0

    @property
    def said_all(self) -> bool:
        """True if it is empty since `leader_ended`, or more was read than it can have held then."""
        if not self._leader_ended or not self.open:
            return not self.open
        return self.journal.end >= self._last_word or not (self._relayed or self._is_readable())

    def _is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return any(events & select.POLLIN for _, events in poll.poll(0))

    def watch(self, ready: Callable[[], object]) -> None:
        """Call `ready` whenever there is something to read."""
        self._ready = ready
        self._arm(ready)
        if self._relayed:
            self._look_soon()

    def unwatch(self) -> None:
        """Stop calling."""
        if self._ready is not None:
            self._ready = None
            self._disarm()

    def _arm(self, ready: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        if self._pause_s:
            self._timer = loop.call_later(self._pause_s, self._look)
        else:
            loop.add_reader(self._master, ready)

    def _disarm(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_soon(self) -> None:
        """Look at what is in the relay: the master need not become readable for it."""
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        if self._ready is not None:
            self._ready()

    def splice(self, limit: int) -> int:
        """Move at most `limit` bytes, at most 32 KiB, to the journal; return how many, 0 at the end.

        Raises:
            BlockingIOError: there is nothing now.
        """
        if not self._relayed and not self._fill(limit):
            return 0
        moved = self.journal.splice_from(self._relay_out, min(limit, self._relayed))
        self._relayed -= moved
        if self._relayed:
            self._look_soon()
        return moved

    def _fill(self, limit: int) -> bool:
        """Move what is there to the empty relay; False at the end."""
        is_open = True
        try:
            for _ in range(_READS):
                size = min(_READ_BYTES, limit - self._relayed)
                moved = os.splice(self._master, self._relay_in, size, flags=os.SPLICE_F_NONBLOCK)
                self._relayed += moved
                if moved < _READ_BYTES // 2:
                    break
        except BlockingIOError:
            pass
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            is_open = False
        self._note_open(is_open=is_open)
        if self._relayed:
            return True
        if is_open or not self._leader_ended:
            raise BlockingIOError
        return False

    def _note_open(self, *, is_open: bool) -> None:
        """Watch the terminal while somebody has it open; else look now and then: the loop would keep reporting it."""
        if is_open and not self._pause_s:
            return
        self._pause_s = 0.0 if is_open else min(max(2 * self._pause_s, _LOOK_AGAIN_S), _LOOK_AGAIN_AT_MOST_S)
        if self._ready is not None:
            self._disarm()
            self._arm(self._ready)

    def leader_ended(self) -> None:
        """Record that the process itself has ended: from now on a terminal that nobody has open is at its end."""
        self._leader_ended = True
        self._last_word = self.journal.end + self._relayed + _UNREAD_BYTES

    def held_names(self) -> set[str]:
        """Return the terminal as /proc shows it, by either of its names; the second is also that of a nested one."""
        return {tty.slave_path(self._master), "/dev/tty"}

    def close(self) -> None:
        """Close the terminal; once the keeper has, too, it is hung up."""
        if self.open:
            self.unwatch()
            self._last_size = self.size
            for fd in (self._master, self._relay_out, self._relay_in):
                os.close(fd)
            self._master = -1

    # Its window.

    @property
    def size(self) -> Size:
        """The size now, as the kernel has it; after the end the last one."""
        return (tty.size_of(self._master) if self.open else None) or self._last_size

    def resize(self, size: Size) -> None:
        """Change the size; a terminal that has ended only remembers it."""
        if self.open:
            tty.resize(self._master, size)
        self._last_size = size
