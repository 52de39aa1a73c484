"""Pseudo-terminals as the kernel offers them: a pair of descriptors, an owner, a size."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import struct
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.host.users import User

_CELLS = range(1, 65536)
_SLAVE_MODE = 0o620  # the owner, and write(1), which runs as the group
_GET_NUMBER = 0x80045430  # TIOCGPTN, missing from termios; ioctl_tty(2)


@dataclass(frozen=True, slots=True)
class Size:
    """A window in character cells, 1 to 65535 each way.

    Raises:
        EnvdError: INVALID_ARGUMENT for another number.
    """

    cols: int
    rows: int

    def __post_init__(self) -> None:
        for name, cells in (("cols", self.cols), ("rows", self.rows)):
            if cells not in _CELLS:
                raise EnvdError(
                    Code.INVALID_ARGUMENT, f"{name} of a terminal must be from 1 to {_CELLS[-1]}, not {cells}"
                )


@contextmanager
def open_pair(size: Size, user: User) -> Iterator[tuple[int, int]]:
    """Yield (master, slave), both close-on-exec, the master non-blocking; both are closed on the way out.

    The size is set before any process can read it. The slave belongs to the user as far as this process may give it
    away: a process that has dropped its privileges could not open its terminal by name otherwise.

    Raises:
        OSError: no terminal or descriptor is left.
    """
    with ExitStack() as unwind:
        master, slave = os.openpty()
        unwind.callback(os.close, master)
        unwind.callback(os.close, slave)
        os.set_blocking(master, False)
        resize(master, size)
        with contextlib.suppress(OSError):  # without root it stays with the daemon's own user
            os.fchown(slave, user.uid, _tty_group(user))
            os.fchmod(slave, _SLAVE_MODE)
        yield master, slave


def _tty_group(user: User) -> int:
    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return user.gid


def resize(fd: int, size: Size) -> None:
    """Set the size by either end; the foreground process group gets SIGWINCH if it changed."""
    termios.tcsetwinsize(fd, (size.rows, size.cols))


def size_of(fd: int) -> Size | None:
    """Return the size; None if a process has set one that is none (0 rows, say)."""
    rows, cols = termios.tcgetwinsize(fd)
    return Size(cols, rows) if cols and rows else None


def slave_path(master: int) -> str:
    """Return the name of the other end."""
    (number,) = struct.unpack("I", fcntl.ioctl(master, _GET_NUMBER, bytes(4)))
    return f"/dev/pts/{number}"
