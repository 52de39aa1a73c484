"""The snapshot of one tree: every change of it becomes an event; and the budget of entries that all snapshots share."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterator

from .events import DIRECTORY, FILLED, ROOT, UNKNOWN, Event, EventKind, changed_attributes, same_kind, wrote
from .snapshot import Directory, Snapshot

Tell = Callable[[EventKind, str, int], None]
"""Takes a change: what, name, and the entry's state from now on."""

_SLICE = 128
# How the kernel names a file that has no name yet: O_TMPFILE.
_NAMELESS = re.compile(r"#\d+")


class EntryBudget:
    """The number of entries that all snapshots together may still have."""

    def __init__(self, entries: int) -> None:
        self.left = entries


class SnapshotBudget:
    """The picture of one tree. Whatever enters it or leaves it is told, so that it is also the client's.

    Told strictly in turns: what is there is not created and what is not there is not removed. If there is no room for
    the picture, it is given up: then everything is told as it comes.

    Attributes:
        root: the picture.
        places: numbers of directories by their watches, also of those that are not in the picture any more but still
            followed.
        whole: there is a picture.
        quiet: nothing is told, because the client does not listen yet.
        held: entries in the picture.
        directories: that are in it.
        loose: directories that have left the picture, with all below, and are still followed; and since when (monotonic
            seconds).
    """

    def __init__(self, tell: Tell, room: EntryBudget, *, recursive: bool) -> None:
        self._tell_client = tell
        self._recursive = recursive
        self._room = room
        room.left -= 1
        picture = Snapshot()
        self.root = Directory(picture, picture.add(DIRECTORY))
        self.held = self.directories = 1
        self.places: dict[int, int] = {}
        self.whole = True
        self.quiet = False
        self.loose: list[tuple[float, Directory]] = []
        self._fresh: set[str] = set()

    def tell(self, kind: EventKind, name: str, state: int = UNKNOWN) -> None:
        """Tell the client, if it listens."""
        if not self.quiet:
            self._tell_client(kind, name, state)

    def place(self, watch: int) -> Directory | None:
        """Return the directory of the picture whose changes are reported by a watch; None if there is none."""
        number = self.places.get(watch)
        picture = self.root.picture
        return None if number is None or picture.ages[number] & 1 else Directory(picture, number)

    def knows(self, place: Directory, name: str) -> bool:
        """Return whether an entry is in the picture; without one, whether it was found a moment ago."""
        return name in place or (not self.whole and place.prefix + name in self._fresh)

    def create(self, place: Directory, name: str, state: int) -> None:
        """Take in an entry that is not entered."""
        self._keep(place, name, state)
        self.tell(EventKind.CREATE, place.prefix + name, state)

    def create_directory(self, place: Directory, name: str, state: int = DIRECTORY) -> Directory:
        """Take in a directory that is entered."""
        directory = place.add_below(name, state)
        self.directories += 1
        self._use(1)  # also without a picture: it is by these that a tree is followed
        self.tell(EventKind.CREATE, place.prefix + name, state)
        return directory

    def replace(self, place: Directory, name: str) -> None:
        """Replace an entry by another of the same name."""
        self._doubt(place, name)
        self.tell(EventKind.CREATE, place.prefix + name)

    def change(self, place: Directory, name: str, kind: EventKind) -> None:
        """Mark an entry as changed."""
        if self._doubt(place, name):
            pass
        elif (below := place.below(name)) is not None:
            below.state = DIRECTORY
        elif self.whole or _NAMELESS.fullmatch(name):
            return
        self.tell(kind, place.prefix + name, UNKNOWN)

    def vanish(self, place: Directory, name: str, kind: EventKind) -> None:
        """Remove an entry, with all below."""
        directory = place.part(name)
        if directory is not None:
            self._loosen(directory)
        elif place.entry(name) is not None:
            place.drop(name)
            self._use(-1)
        elif self.whole:
            return
        self.tell(kind, place.prefix + name)

    def rename(self, name: str) -> None:
        """Remove an entry that was renamed, by its name from the root on; a scan will show the new name."""
        above, _, last = name.rpartition("/")
        place = self._at(above and above + "/")
        if place is not None and last in place:
            self.vanish(place, last, EventKind.RENAME)

    def give_up(self) -> None:
        """Do without a picture: there is no room for it."""
        self.whole = False
        self._use(self.directories - self.held)
        self.root.picture.forget()

    def close(self) -> None:
        """Give back the room, and have everything loose. Nothing is taken in any more."""
        self._use(-self.held)
        self.loose.append((time.monotonic(), self.root))

    def forget(self) -> None:
        """Give back the memory, once it is closed and nothing is loose."""
        if not self.loose:
            picture = Snapshot()
            self.root, self.places = Directory(picture, picture.add(DIRECTORY)), {}

    def settled(self) -> None:
        """End what is remembered for reports from before the last merge: all of them were taken."""
        self._fresh.clear()

    def restore(self, prefix: str, state: int, entries: dict[str, int]) -> None:
        """Take in a directory as an earlier picture had it; those above it first."""
        directory = self._at(prefix)
        if directory is None:
            above, _, name = prefix[:-1].rpartition("/")
            place = self._at(above and above + "/")
            if place is None:
                return
            directory = place.add_below(name, state)
            self.directories += 1
            self._use(1)
        directory.state = state
        if self.whole:
            for name, each in entries.items():
                directory.put(name, each)
            directory.pack()
            self._use(len(entries))

    def apply(self, event: Event) -> None:
        """Have the picture follow an event that was told before."""
        _, kind, path, state = event
        above, _, name = path.rpartition("/")
        place = self._at(above and above + "/")
        if place is None or not self.whole or path == ROOT:
            return
        if kind in (EventKind.REMOVE, EventKind.RENAME):
            self.vanish(place, name, EventKind(kind))
        elif (below := place.below(name)) is not None:
            below.state = state | DIRECTORY
        elif kind == EventKind.CREATE and state & DIRECTORY and self._recursive:
            self.create_directory(place, name, state)
        elif kind == EventKind.CREATE or place.entry(name) is not None:
            self._keep(place, name, state)

    def _at(self, prefix: str) -> Directory | None:
        place: Directory | None = self.root
        for name in prefix.split("/")[:-1]:
            place = place.below(name) if place is not None else None
        return place

    @property
    def fresh(self) -> bool:
        """No scan has found yet what there is."""
        return self.root.watch is None and not (self.root.entries or self.root.names_below or self.places)

    def adopt(self, found: Directory, places: dict[int, int], entries: int, directories: int) -> None:
        """Take in a whole tree that was found, when nobody has looked before and nothing is told.

        At once, however large it is: what was found is the picture from now on.

        Args:
            found: its root.
            places: the numbers of its directories by their watches.
            entries: how many it has, without directories.
            directories: how many it has.
        """
        self.root, self.places, self.directories = found, places, directories
        self.loose.clear()  # of what was before, nothing is followed
        self._use(entries + directories - 1)

    async def merge(
        self, directory: Directory, found: Directory, breathe: Callable[[], Awaitable[None]], *, moved: bool = False
    ) -> None:
        """Bring a part of the picture up to what was found.

        Args:
            directory: of the picture.
            found: the same on the disk.
            breathe: called after a millisecond of work, to give others a turn.
            moved: content that comes with the directory was not written now.
        """
        waiting = [(directory, found)]
        count = 0
        while waiting:
            ours, on_disk = waiting.pop()
            ours.state = on_disk.state
            self.follow(ours, on_disk.watch)
            for _ in self._steps(ours, on_disk, moved=moved):
                count += 1
                if count % _SLICE == 0:
                    await breathe()
            ours.pack()
            waiting.extend(_both_below(ours, on_disk))

    def follow(self, place: Directory, watch: int | None) -> None:
        """Have a directory's reports come by another watch."""
        old, place.watch = place.watch, watch
        if old is not None and old != watch and self.places.get(old) == place.number:
            stale = Directory(place.picture, place.picture.add(place.state))
            stale.watch = old
            stale.leave()
            self.places[old] = stale.number
            self.loose.append((time.monotonic(), stale))
        if watch is not None:
            self.places[watch] = place.number

    def _steps(self, ours: Directory, on_disk: Directory, *, moved: bool) -> Iterator[None]:
        same = ours.holds_same(on_disk)
        before, after = (ours.entries, on_disk.entries) if not same else ({}, {})
        for name in [name for name in before if name not in after]:
            self.vanish(ours, name, EventKind.REMOVE)
            yield
        for name in [name for name in ours.names_below if not on_disk.has_below(name)]:
            yield from self._remove_tree(ours, name)
        for name, state in after.items():
            if before.get(name) != state:
                self._compare(ours, name, state, moved=moved)
            yield
        for name in on_disk.names_below:
            self._compare_below(ours, on_disk, name)
            yield

    def _compare(self, ours: Directory, name: str, state: int, *, moved: bool) -> None:
        old = ours.entry(name)
        if old is not None and not same_kind(old, state):
            self.vanish(ours, name, EventKind.REMOVE)
            old = None
        if old is None:
            if not self.whole:
                self._fresh.add(ours.prefix + name)
            self.create(ours, name, state)
            if state & FILLED and not moved:
                self.tell(EventKind.WRITE, ours.prefix + name, state)
            return
        ours.put(name, state)
        if changed_attributes(old, state):
            self.tell(EventKind.CHMOD, ours.prefix + name, state)
        if not state & DIRECTORY and wrote(old, state):
            self.tell(EventKind.WRITE, ours.prefix + name, state)

    def _compare_below(self, ours: Directory, on_disk: Directory, name: str) -> None:
        below_on_disk, below_ours = on_disk.below(name), ours.below(name)
        if below_on_disk is None:
            return
        state = below_on_disk.state
        if below_ours is None:
            self.create_directory(ours, name, state)
        elif changed_attributes(below_ours.state, state):
            self.tell(EventKind.CHMOD, ours.prefix + name, state)

    def _remove_tree(self, ours: Directory, name: str) -> Iterator[None]:
        """Tell that a directory is gone: first what was in it, as if it had been removed one by one."""
        top = ours.below(name)
        for directory in top.tree(upwards=True) if top is not None else ():
            for entry in directory.entries:
                self.tell(EventKind.REMOVE, directory.prefix + entry)
                yield
            if directory != top:
                self.tell(EventKind.REMOVE, directory.prefix[:-1])
                yield
        self.vanish(ours, name, EventKind.REMOVE)
        yield

    def _keep(self, place: Directory, name: str, state: int) -> None:
        if not self.whole:
            return
        is_new = place.entry(name) is None
        place.put(name, state)
        if is_new:
            self._use(1)

    def _doubt(self, place: Directory, name: str) -> bool:
        """Have the state of an entry be unknown; return whether it is there, and no directory below."""
        entries = place.picture.open_entries(place.number)
        if name not in entries:
            return False
        entries[name] &= DIRECTORY
        return True

    def _use(self, entries: int) -> None:
        self.held += entries
        self._room.left -= entries
        if entries > 0 and self._room.left < 0 and self.whole:
            self.give_up()

    def _loosen(self, directory: Directory) -> None:
        directories, entries = directory.leave()
        self.directories -= directories
        self._use(-directories - entries)
        self.loose.append((time.monotonic(), directory))


def _both_below(ours: Directory, on_disk: Directory) -> Iterator[tuple[Directory, Directory]]:
    for name in on_disk.names_below:
        below_ours, below_on_disk = ours.below(name), on_disk.below(name)
        if below_ours is not None and below_on_disk is not None:
            yield below_ours, below_on_disk
