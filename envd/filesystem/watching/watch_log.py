"""The log of a watch, with which a later server goes on."""

from __future__ import annotations

import dataclasses
import logging
import marshal
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

from envd.host.unreadable import known_fields
from envd.host.users import User, own_user

from .entry_budget import SnapshotBudget
from .events import Event
from .history import History
from .slots import WatchSlot
from .watch_root import WatchRoot

log = logging.getLogger("envd.filesystem.watching")

# Records, by their first element; of kinds that a later version adds nothing is read. What a watch is stands in a dict
# with a version; 0.7.0 wrote its values one after the other. Version 4 of marshal is read by every interpreter.
_VERSION = 2
_MARSHAL = 4
_USER_FIELDS = len(dataclasses.fields(User))
_WATCH, _DIRECTORY, _PAST, _EVENTS, _DROPPED, _NO_PICTURE = range(6)
_SMALL_BYTES = 256 * 1024
_TOGETHER = 4096


@dataclass(frozen=True, slots=True)
class WatchInfo:
    """What a watch is.

    Attributes:
        polled: a client asks for its changes; else they are streamed.
        entries: a client that polls wants entries with events.
    """

    ident: str
    top: WatchRoot
    polled: bool
    entries: bool = False


class WatchLog:
    """Writes the log of one watch, as it goes on. If there is no memory for that, it is not kept any more."""

    def __init__(self, slot: WatchSlot) -> None:
        self._slot: WatchSlot | None = slot
        self._whole_bytes = slot.size
        self._rewriting = False
        self._waiting: list[bytes] | None = None
        self._doomed = False

    @property
    def overgrown(self) -> bool:
        """It is time to write everything anew, because most of what was written is of no use any more."""
        slot = self._slot
        return slot is not None and not self._rewriting and slot.size > max(_SMALL_BYTES, 2 * self._whole_bytes)

    def note(self, events: Iterable[Event]) -> None:
        """Write down new events."""
        self._append(_dumped((_EVENTS, list(events))))

    def dropped(self, upto: int) -> None:
        """Write down that events up to a number are not wanted any more."""
        self._append(_dumped((_DROPPED, upto)))

    def begin(self) -> None:
        """Announce that everything will be written anew; until `end` nothing is freed."""
        self._rewriting = True

    def prepare(self, card: WatchInfo, account: SnapshotBudget, events: list[Event], last: int) -> None:
        """Write everything anew, beside what there is. Blocks; the account must not change meanwhile.

        Args:
            card: the watch.
            account: its picture.
            events: those that may still be wanted.
            last: number of the newest event there was.
        """
        try:
            if self._slot is not None:
                self._slot.prepare(_records(card, account, events, last))
        except OSError as exc:
            self._failed(exc)

    def collect(self) -> None:
        """Have what is written from now on be written behind what is prepared, too."""
        self._waiting = []

    def switch(self) -> None:
        """Have what was prepared count."""
        waiting, self._waiting = self._waiting or [], None
        try:
            if self._slot is not None and not self._doomed:
                self._slot.switch(waiting)
                self._whole_bytes = self._slot.size
        except OSError as exc:
            self._failed(exc)

    def tidy(self) -> None:
        """Free the memory of what does not count any more. Blocks."""
        try:
            if self._slot is not None:
                self._slot.tidy()
        except OSError as exc:
            self._failed(exc)

    def end(self) -> None:
        """Everything was written anew, or that was given up."""
        self._rewriting, self._waiting = False, None
        if self._doomed:
            self.free()

    def free(self) -> None:
        """Forget the watch; what is being written comes to its end first."""
        if self._rewriting:
            self._doomed = True
        elif self._slot is not None:
            self._slot.free()
            self._slot = None

    def _append(self, record: bytes) -> None:
        # What counts until the switch has it as well: it may be handed out before.
        if self._waiting is not None:
            self._waiting.append(record)
        try:
            if self._slot is not None and self._slot.written:
                self._slot.append(record)
        except OSError as exc:
            self._failed(exc)
            self.free()

    def _failed(self, exc: OSError) -> None:
        log.warning("a watch will not survive a restart: no memory to keep it", extra={"errno": exc.errno})
        self._doomed = True


def _records(card: WatchInfo, account: SnapshotBudget, events: list[Event], last: int) -> Iterator[bytes]:
    top = card.top
    about = {"version": _VERSION, "ident": card.ident, "polled": card.polled, "entries": card.entries}
    where = {field.name: getattr(top, field.name) for field in dataclasses.fields(top)}
    yield _dumped((_WATCH, about, {**where, "user": astuple(top.user)}))
    if not account.whole:
        yield _dumped((_NO_PICTURE,))
    # Without a picture the next server finds the directories anew.
    for directory in account.root.tree() if account.whole else (account.root,):
        yield _dumped((_DIRECTORY, directory.prefix, directory.state, directory.entries))
    yield _dumped((_PAST, [], last - len(events)))
    for start in range(0, len(events), _TOGETHER):
        yield _dumped((_PAST, events[start : start + _TOGETHER], 0))


def read_card(records: Iterator[bytes]) -> WatchInfo | None:
    """Return which watch a log is about; None if it says nothing."""
    first = next(records, None)
    if first is None:
        return None
    kind, about, *rest = marshal.loads(first)
    if kind != _WATCH:
        return None
    if isinstance(about, str):
        # Before 0.8.0 all watches looked with the daemon's own rights.
        path, real, recursive, network, remote, polled, entries = rest[:7]
        return WatchInfo(about, WatchRoot(path, real, own_user(), recursive, network, remote), polled, entries)
    where = known_fields(WatchRoot, rest[0])
    where["user"] = User(*where["user"][:_USER_FIELDS])
    return WatchInfo(top=WatchRoot(**where), **known_fields(WatchInfo, about))


def read_rest(records: Iterator[bytes], account: SnapshotBudget, history: History) -> None:
    """Bring account and history to where a log ends. Blocks; no client is told."""
    for record in records:
        kind, *fields = marshal.loads(record)
        if kind == _DIRECTORY:
            account.restore(*fields[:3])
        elif kind == _NO_PICTURE:
            account.give_up()
        elif kind == _PAST:
            events, before = fields[:2]
            if before:
                history.skip(before)
            for event in events:
                history.restore(event)
        elif kind == _DROPPED:
            history.drop(fields[0])
        elif kind == _EVENTS:
            for event in fields[0]:
                history.restore(event)
                account.apply(event)


def _dumped(record: tuple[Any, ...]) -> bytes:
    return marshal.dumps(record, _MARSHAL)
