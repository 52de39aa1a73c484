"""The kernel's reports become changes in the snapshot of one tree."""

from __future__ import annotations

from collections.abc import Callable

from envd.filesystem.writing.own_writes import FILLED, PLACED

from . import inotify
from .entry_budget import SnapshotBudget
from .events import DIRECTORY, ROOT, UNKNOWN, EventKind
from .inotify import Raw
from .root_check import REMOVED, RENAMED, UNMOUNTED, Departure
from .snapshot import Directory

_ARRIVALS = inotify.CREATE | inotify.MOVED_TO
_NEW_DIRECTORY = inotify.CREATE | inotify.IS_DIRECTORY
_ENDS = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT | inotify.IGNORED


class RawEvents:
    """Applies reports one by one to the snapshot of a tree.

    Args:
        gone: called when the watched directory has left its path.

    Attributes:
        arrived: directories to scan; true for those that were moved here with what is in them.
        settling: what comes now may be older than the last scan.
    """

    def __init__(self, account: SnapshotBudget, *, recursive: bool, gone: Callable[[Departure], None]) -> None:
        self.account = account
        self._recursive = recursive
        self._gone = gone
        self.arrived: dict[Directory, bool] = {}
        self.settling = False

    def must_wait(self, raw: Raw) -> bool:
        """Return whether a scan must come before a report: what is told of later changes comes later.

        Directories that are made one after the other are scanned together.
        """
        return bool(self.arrived) and (
            raw.mask & _NEW_DIRECTORY != _NEW_DIRECTORY or next(reversed(self.arrived.values()))
        )

    def is_end(self, raw: Raw) -> bool:
        """Return whether a report is that the watched directory has left its path."""
        return not raw.name and raw.mask & _ENDS != 0 and raw.watch == self.account.root.watch

    def take(self, raw: Raw) -> None:
        """Apply one report."""
        place = self.account.place(raw.watch)
        if place is None:
            return
        mask, name = raw.mask, raw.name
        if not name:
            self._follow_self(place, mask)
        elif mask & _ARRIVALS:
            self._appeared(place, raw)
        else:
            self._changed(place, mask, name)

    def _changed(self, place: Directory, mask: int, name: str) -> None:
        account = self.account
        if mask & inotify.MODIFY:
            account.change(place, name, EventKind.WRITE)
        elif mask & inotify.ATTRIB:
            account.change(place, name, EventKind.CHMOD)
        elif mask & inotify.DELETE:
            account.vanish(place, name, EventKind.REMOVE)
        elif mask & inotify.MOVED_FROM:
            account.vanish(place, name, EventKind.RENAME)

    def _appeared(self, place: Directory, raw: Raw) -> None:
        moved = bool(raw.mask & inotify.MOVED_TO)
        placed = bool(raw.mask & PLACED)
        if raw.mask & inotify.IS_DIRECTORY:
            self._directory_appeared(place, raw, moved=moved and not placed)
        else:
            self._file_appeared(place, raw, placed=placed)

    def _follow_self(self, place: Directory, mask: int) -> None:
        account = self.account
        if place != account.root:
            if mask & inotify.UNMOUNT:
                self.arrived[place] = True  # what was below the mount is there now
            if mask & inotify.IGNORED and place.watch is not None:
                account.places.pop(place.watch, None)
                place.watch = None
        elif mask & inotify.ATTRIB:
            account.tell(EventKind.CHMOD, ROOT)
        elif mask & inotify.DELETE_SELF:
            self._gone(REMOVED)
        elif mask & inotify.MOVE_SELF:
            self._gone(RENAMED)
        elif mask & _ENDS:
            self._gone(UNMOUNTED)

    def _file_appeared(self, place: Directory, raw: Raw, *, placed: bool) -> None:
        account, name = self.account, raw.name
        if not account.knows(place, name):
            account.create(place, name, UNKNOWN)
            if placed:
                # As if it had been made, given to its owner, and written.
                account.change(place, name, EventKind.CHMOD)
                if raw.mask & FILLED:
                    account.change(place, name, EventKind.WRITE)
        elif not raw.mask & inotify.MOVED_TO:
            return  # found already
        elif placed or self.settling:
            account.change(place, name, EventKind.WRITE)
        else:
            account.replace(place, name)

    def _directory_appeared(self, place: Directory, raw: Raw, *, moved: bool) -> None:
        account, name = self.account, raw.name
        if not self._recursive:
            if not account.knows(place, name):
                account.create(place, name, DIRECTORY)
            elif moved and not self.settling:
                account.replace(place, name)
            return
        if place.entry(name) is not None:
            if self.settling or not moved:
                return  # the scan has found what came after it
            account.vanish(place, name, EventKind.REMOVE)
        directory = place.below(name)
        if directory is None:
            directory = account.create_directory(place, name)
        elif not moved:
            return  # found already
        elif not self.settling:
            account.tell(EventKind.CREATE, place.prefix + name, DIRECTORY)
        self.arrived[directory] = moved
