"""Opening what a walk begins at, and what lies below it. Everything here blocks: for threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from .descent import READ, SEARCH

_PIECE_BYTES = 4000  # the kernel takes paths of 4096; longer ones are followed piece by piece


def open_directory(path: str, flags: int = READ) -> int:
    """Open a directory by the path a client gave; links are followed.

    Raises:
        OSError: there is none.
    """
    fd, rest = None, os.fsencode(path)
    try:
        while len(rest) > _PIECE_BYTES:
            cut = rest.rfind(b"/", 1, _PIECE_BYTES)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            above, fd = fd, os.open(rest[:cut], SEARCH, dir_fd=fd)
            if above is not None:
                os.close(above)
            rest = rest[cut:].lstrip(b"/")
        return os.open(rest or b".", flags, dir_fd=fd)
    finally:
        if fd is not None:
            os.close(fd)


def open_below(root: int, names: Sequence[str], flags: int = READ, *, follow: bool = False) -> int:
    """Open a directory by its names from an open one on, however many there are; with `follow` through links too.

    Raises:
        OSError: there is none.
    """
    last = len(names) - 1
    if last < 0:
        return os.open(".", flags, dir_fd=root)
    no_link = 0 if follow else os.O_NOFOLLOW
    fd = root
    for at, name in enumerate(names):
        try:
            below = os.open(name, (flags if at == last else SEARCH) | no_link, dir_fd=fd)
        finally:
            if fd != root:
                os.close(fd)
        fd = below
    return fd


def path_of(fd: int) -> str:
    """Return the path by which the kernel knows what is open, with all links resolved.

    Raises:
        OSError: it has none, or one that is too long.
    """
    return os.readlink(f"/proc/self/fd/{fd}")
