"""Entries that a search found."""

from __future__ import annotations

import os
from typing import NamedTuple

from envd.filesystem.entries import Entry, describe_in
from envd.filesystem.walking import open_entry

from .requests import Selection, Type
from .text import READ_FILE, regular


class Match(NamedTuple):
    """An entry, for as long as the search is at it.

    Attributes:
        path: as the client is to see it.
        directory: what it is in, open.
        follow: a link stands for what it leads to.
    """

    path: str
    type: Type
    directory: int
    name: str
    follow: bool = False

    def stat(self) -> os.stat_result:
        """Look at what was found.

        Raises:
            OSError: it is gone, or out of reach.
        """
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=self.follow)

    def describe(self, *, with_metadata: bool) -> Entry:
        """Describe the entry itself.

        Raises:
            OSError: it is gone, or out of reach.
        """
        st = os.lstat(self.name, dir_fd=self.directory)
        return describe_in(self.directory, self.name, self.path, st, with_metadata=with_metadata)

    def open(self) -> tuple[int, os.stat_result] | None:
        """Open a regular file to read it; None if it is something else by now. Never waits for a writer.

        Raises:
            OSError: it cannot be opened.
        """
        return regular(open_entry(self.directory, self.name, READ_FILE, follow=self.follow))


def time_suits(selection: Selection, st: os.stat_result) -> bool:
    """Tell whether an entry's last change is within the bounds."""
    if selection.since_ns is not None and st.st_mtime_ns < selection.since_ns:
        return False
    return selection.before_ns is None or st.st_mtime_ns < selection.before_ns


def size_suits(selection: Selection, kind: Type, st: os.stat_result) -> bool:
    """Tell whether an entry's size is within the bounds; if there are any, only files are."""
    if selection.min_size is None and selection.max_size is None:
        return True
    largest = st.st_size if selection.max_size is None else selection.max_size
    return kind is Type.FILE and (selection.min_size or 0) <= st.st_size <= largest
