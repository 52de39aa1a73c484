"""Entries that were found."""

from __future__ import annotations

import os
from typing import NamedTuple

from .orders import Selection, Type


class Found(NamedTuple):
    """An entry.

    Attributes:
        path: as the client is to see it.
        real: for the kernel.
        entry: None if it is the place where the search began.
        follow: a link stands for what it leads to.
    """

    path: str
    real: str
    type: Type
    entry: os.DirEntry[str] | None
    follow: bool = False

    def stat(self) -> os.stat_result:
        """Look at what was found.

        Raises:
            OSError: it is gone, or out of reach.
        """
        return os.stat(self.real) if self.follow else self.lstat()

    def lstat(self) -> os.stat_result:
        """Look at the entry itself.

        Raises:
            OSError: it is gone, or out of reach.
        """
        if self.entry is not None:
            return self.entry.stat(follow_symlinks=False)
        return os.lstat(self.real)


def time_suits(wanted: Selection, st: os.stat_result) -> bool:
    """Tell whether an entry's last change is within the bounds."""
    if wanted.since_ns is not None and st.st_mtime_ns < wanted.since_ns:
        return False
    return wanted.before_ns is None or st.st_mtime_ns < wanted.before_ns


def size_suits(wanted: Selection, kind: Type, st: os.stat_result) -> bool:
    """Tell whether an entry's size is within the bounds; if there are any, only files are."""
    if wanted.min_size is None and wanted.max_size is None:
        return True
    largest = st.st_size if wanted.max_size is None else wanted.max_size
    return kind is Type.FILE and (wanted.min_size or 0) <= st.st_size <= largest
