"""Opens entries below an open directory. Everything here blocks: call it from a thread."""

from __future__ import annotations

import os
from collections.abc import Sequence

from envd.filesystem.access import open_below, open_path

from .descent import READ, SEARCH, Inode, inode_of


def open_entry(directory: int, name: str, flags: int, *, follow: bool = False) -> int:
    """Open an entry of an open directory; a link only with `follow`, and none of /proc that leads into a process.

    Raises:
        OSError: it cannot be opened; EACCES for what is a process of the daemon's own.
    """
    return open_path(name, flags, start=directory) if follow else open_below(directory, name, flags)


def open_down(root: int, names: Sequence[str], flags: int = READ, *, follow: bool = False) -> int:
    """Open a directory by its names from an open one on, however many there are; with `follow` through links too.

    Raises:
        OSError: as open_entry.
    """
    last = len(names) - 1
    if last < 0:
        return os.open(".", flags, dir_fd=root)
    fd = root
    for index, name in enumerate(names):
        try:
            below = open_entry(fd, name, flags if index == last else SEARCH, follow=follow)
        finally:
            if fd != root:
                os.close(fd)
        fd = below
    return fd


def is_within(directory: int, inode: Inode) -> bool:
    """Tell whether an open directory is one, or lies somewhere below it.

    Raises:
        OSError: nobody can tell.
    """
    fd = os.open(".", SEARCH, dir_fd=directory)
    try:
        current = inode_of(fd)
        while current != inode:
            below, fd = fd, os.open("..", SEARCH, dir_fd=fd)
            os.close(below)
            above = inode_of(fd)
            if above == current:
                return False  # the root
            current = above
        return True
    finally:
        os.close(fd)
