"""Conversions between the contract's messages about watching and the domain's terms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from envd.errors import Code, EnvdError
from envd.filesystem.entries import Entry, entry_of
from envd.filesystem.watching.events import ROOT, Event, EventKind
from envd.filesystem.watching.fair_scheduler import FairScheduler
from envd.filesystem.watching.watch import Watch
from envd.services.filesystem.encoding import EncodedMessage, EntryEncoder
from envd.services.filesystem.messages import EntryFormat

from .encoding import EncodedAnswer, EncodedChanges, EventWriter

_HAVE_ENTRIES = (EventKind.CREATE, EventKind.WRITE, EventKind.CHMOD)
_SLICE = 64
_PORTION = 256
_BREATH_S = 50e-6


class ResponseFormat:
    """Makes responses from events as one client wants them.

    Args:
        entries: with the entries, as they are then.
        cursors: with cursors and overflows.
    """

    def __init__(self, watch: Watch, entry_format: EntryFormat, *, entries: bool, cursors: bool) -> None:
        self._watch = watch
        self._format = entry_format
        self._path = watch.card.top.path.rstrip("/")
        self.entries = entries and not entry_format.brief
        self._cursors = cursors
        self._plain = self._writer(EntryEncoder(entry_format.names))

    def check(self, events: Sequence[Event]) -> None:
        """Check that the client can be told what has happened.

        Raises:
            EnvdError: DATA_LOSS if what it knows is worthless, and it has no way to be told so.
        """
        if not self._cursors and any(kind == EventKind.OVERFLOW and state for _, kind, _, state in events):
            raise EnvdError(
                Code.DATA_LOSS,
                f"events of {self._watch.card.top.path} were lost, and it is too large to tell what has changed: list "
                "it anew. A client that gives a cursor is told where to go on",
            )

    def run(self, events: Sequence[Event]) -> EncodedChanges | None:
        """Return changes as messages of a stream, without entries; None if there is nothing to tell."""
        interesting = self._of_interest(events)
        return EncodedChanges(interesting, None, self._plain) if interesting else None

    def run_with_entries(self, events: Sequence[Event]) -> EncodedChanges | None:
        """Return changes as messages of a stream, with entries. Blocks."""
        interesting = self._of_interest(events)
        if not interesting:
            return None
        entries = [self._entry(event) for event in interesting]
        return _Ready(interesting, entries, self._writer(self._format.encoder()), in_json=self._format.in_json)

    async def answer(self, events: Sequence[Event], turns: FairScheduler) -> EncodedMessage:
        """Return changes as one GetWatcherEventsResponse, without entries; in turns."""
        in_json = self._format.in_json
        answer = EncodedAnswer(self._plain, in_json=in_json)
        for start in range(0, len(events), _PORTION):
            await turns.mine()
            for event in events[start : start + _PORTION]:
                answer.add(event)
        again = partial(_answer_of, events, [None] * len(events), self._plain, in_json=not in_json)
        return EncodedMessage(answer.end(), in_json=in_json, again=again)

    def answer_with_entries(self, events: Sequence[Event]) -> EncodedMessage:
        """Return changes as one GetWatcherEventsResponse, with entries. Blocks."""
        in_json, writer = self._format.in_json, self._writer(self._format.encoder())
        answer = EncodedAnswer(writer, in_json=in_json)
        entries = []
        for count, event in enumerate(events):
            entries.append(self._entry(event))
            answer.add(event, entries[-1])
            if count % _SLICE == 0:
                time.sleep(_BREATH_S)
        again = partial(_answer_of, events, entries, writer, in_json=not in_json)
        return EncodedMessage(answer.end(), in_json=in_json, again=again)

    def _of_interest(self, events: Sequence[Event]) -> Sequence[Event]:
        """Leave out that something was lost, for a client that knows nothing of that."""
        return events if self._cursors else [event for event in events if event[1] != EventKind.OVERFLOW]

    def _entry(self, event: Event) -> Entry | None:
        _, kind, name, _ = event
        if kind not in _HAVE_ENTRIES:
            return None
        path = self._path or "/" if name == ROOT else f"{self._path}/{name}"
        try:
            return entry_of(path)
        except EnvdError:
            return None  # gone again, or out of reach

    def _writer(self, encoder: EntryEncoder) -> EventWriter:
        return EventWriter(encoder, self._watch.card.ident if self._cursors else "")


class _Ready(EncodedChanges):
    """Several WatchDirResponses that are encoded beforehand."""

    def __init__(
        self, events: Sequence[Event], entries: Sequence[Entry | None], writer: EventWriter, *, in_json: bool
    ) -> None:
        super().__init__(events, entries, writer)
        self._ready = super().json() if in_json else super().proto()
        self._in_json = in_json

    def proto(self) -> Sequence[bytes]:
        return super().proto() if self._in_json else self._ready

    def json(self) -> Sequence[bytes]:
        return self._ready if self._in_json else super().json()


def _answer_of(
    events: Sequence[Event], entries: Sequence[Entry | None], writer: EventWriter, *, in_json: bool
) -> bytes:
    answer = EncodedAnswer(writer, in_json=in_json)
    for event, entry in zip(events, entries, strict=True):
        answer.add(event, entry)
    return answer.end()


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
