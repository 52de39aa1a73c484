"""Conversions between the contract's messages about watching and the domain's terms."""

from __future__ import annotations

import time
from collections.abc import Sequence

from envd.errors import Code, EnvdError
from envd.filesystem.encoding import EncodedMessage, EntryEncoder
from envd.filesystem.entries import Entry, entry_of
from envd.filesystem.messages import Caller

from .encoding import Answer, EncodedChanges, Told, answer_of
from .events import ROOT, Event, Kind
from .watch import Watch

_HAVE_ENTRIES = (Kind.CREATE, Kind.WRITE, Kind.CHMOD)
_SLICE = 64
_BREATH_S = 50e-6


class Style:
    """How one client is told of changes.

    Args:
        entries: with the entries, as they are then.
        cursors: with cursors and overflows.
    """

    def __init__(self, watch: Watch, caller: Caller, *, entries: bool, cursors: bool) -> None:
        self._watch = watch
        self._caller = caller
        self._path = watch.card.top.path.rstrip("/")
        self.entries = entries and not caller.brief
        self._cursors = cursors
        self._plain = EntryEncoder(caller.view.names)

    def check(self, events: Sequence[Event]) -> None:
        """Check that the client can be told what has happened.

        Raises:
            EnvdError: DATA_LOSS if what it knows is worthless, and it has no way to be told so.
        """
        if not self._cursors and any(event.kind == Kind.OVERFLOW and event.state for event in events):
            raise EnvdError(
                Code.DATA_LOSS,
                f"events of {self._watch.card.top.path} were lost, and it is too large to tell what has changed: list "
                "it anew. A client that gives a cursor is told where to go on",
            )

    def run(self, events: Sequence[Event]) -> EncodedChanges | None:
        """Return changes as messages of a stream, without entries; None if there is nothing to tell."""
        told = [Told(event, None, self._cursor(event)) for event in events if event.kind or self._cursors]
        return EncodedChanges(told, self._plain) if told else None

    def run_with_entries(self, events: Sequence[Event]) -> EncodedChanges | None:
        """Return changes as messages of a stream, with entries. Blocks."""
        encoder = self._caller.encoder()
        told = [Told(event, self._entry(event), self._cursor(event)) for event in events if event.kind or self._cursors]
        if not told:
            return None
        run = EncodedChanges(told, encoder)
        ready = run.json() if self._caller.in_json else run.proto()
        return _Ready(told, encoder, ready, in_json=self._caller.in_json)

    def answer(self, events: Sequence[Event]) -> EncodedMessage:
        """Return changes as one GetWatcherEventsResponse. Blocks."""
        encoder, in_json = self._caller.encoder(), self._caller.in_json
        answer = Answer(encoder, in_json=in_json)
        told = []
        for count, event in enumerate(events):
            told.append(Told(event, self._entry(event) if self.entries else None, self._cursor(event)))
            answer.add(told[-1])
            if count % _SLICE == 0:
                time.sleep(_BREATH_S)
        return EncodedMessage(
            answer.end(), in_json=in_json, again=lambda: answer_of(told, encoder, in_json=not in_json)
        )

    def _entry(self, event: Event) -> Entry | None:
        if event.kind not in _HAVE_ENTRIES:
            return None
        path = self._path or "/" if event.name == ROOT else f"{self._path}/{event.name}"
        try:
            return entry_of(path)
        except EnvdError:
            return None  # gone again, or out of reach

    def _cursor(self, event: Event) -> str:
        return cursor_of(self._watch, event.number) if self._cursors else ""


class _Ready(EncodedChanges):
    """A run that was encoded beforehand."""

    def __init__(self, told: Sequence[Told], encoder: EntryEncoder, ready: Sequence[bytes], *, in_json: bool) -> None:
        super().__init__(told, encoder)
        self._ready = ready
        self._in_json = in_json

    def proto(self) -> Sequence[bytes]:
        return super().proto() if self._in_json else self._ready

    def json(self) -> Sequence[bytes]:
        return self._ready if self._in_json else super().json()


def cursor_of(watch: Watch, number: int) -> str:
    """Return the cursor of a place in a watch."""
    return f"{watch.card.ident}.{number}"


def place_from(cursor: str) -> tuple[str, int]:
    """Return the watch and the place in it that a cursor names.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    ident, _, number = cursor.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise EnvdError(
            Code.INVALID_ARGUMENT, "cursor is none of a watch: give one as it was received, or an empty one"
        )
    return ident, int(number)
