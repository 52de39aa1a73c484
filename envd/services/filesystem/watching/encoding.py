"""Changes as messages, written straight into both encodings. Field numbers: filesystem.proto."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from envd.errors import readable
from envd.filesystem.entries import Entry
from envd.filesystem.lossy_names import raw_of
from envd.filesystem.watching.events import Event, EventKind
from envd.services.filesystem.encoding import EntryEncoder
from envd.varint import delimited, varint

_quote: Callable[[str], str] = json.encoder.encode_basestring

_KINDS = {
    int(kind): f"EVENT_TYPE_{kind.name}"
    for kind in (EventKind.CREATE, EventKind.WRITE, EventKind.REMOVE, EventKind.RENAME, EventKind.CHMOD)
}
_CURSOR, _RAW_NAME = b"\xc2\x3e", b"\xca\x3e"
_FILESYSTEM, _OVERFLOW = b"\x12", b"\xc2\x3e"
_EVENTS, _OVERFLOWED, _RESET = b"\x0a", b"\xc0\x3e\x01", b"\xc8\x3e\x01"


@dataclass(frozen=True, slots=True)
class EventWriter:
    """Writes changes as FilesystemEvents for one client.

    Attributes:
        encoder: writes entries.
        ident: of the watch, for cursors; empty if the client knows none.
    """

    encoder: EntryEncoder
    ident: str = ""

    def proto(self, event: Event, entry: Entry | None) -> bytes:
        """Return it in binary, with what there is by that name now, if that is to be told."""
        number, kind, name, _ = event
        parts = [delimited(b"\x0a", readable(name).encode()), b"\x10", varint(kind)]
        if entry is not None:
            parts.append(delimited(b"\x1a", self.encoder.proto(entry)))
        if self.ident:
            parts.append(delimited(_CURSOR, self.cursor(number).encode()))
        raw = raw_of(name)
        if raw is not None:
            parts.append(delimited(_RAW_NAME, raw))
        return b"".join(parts)

    def json(self, event: Event, entry: Entry | None) -> str:
        """Return it in JSON, likewise."""
        number, kind, name, _ = event
        parts = [f'{{"name":{_quote(readable(name))},"type":"{_KINDS[kind]}"']
        if entry is not None:
            parts.append(f',"entry":{self.encoder.json(entry)}')
        if self.ident:
            parts.append(f',"cursor":"{self.cursor(number)}"')
        raw = raw_of(name)
        if raw is not None:
            parts.append(f',"rawName":"{base64.b64encode(raw).decode()}"')
        parts.append("}")
        return "".join(parts)

    def cursor(self, number: int) -> str:
        """Return the cursor of an event."""
        return f"{self.ident}.{number}"


class EncodedChanges:
    """Several WatchDirResponses, encoded together. Implements envd.rpc.Encoded.

    Args:
        events: at least one.
        entries: of each event, what there is by its name; None: no client wants to know.
    """

    __slots__ = ("_entries", "_events", "_writer", "position")

    def __init__(self, events: Sequence[Event], entries: Sequence[Entry | None] | None, writer: EventWriter) -> None:
        self.position = events[-1][0]
        self._events = events
        self._entries = entries
        self._writer = writer

    def proto(self) -> Sequence[bytes]:
        """Return each message in binary."""
        return [self._proto(event, entry) for event, entry in self._told()]

    def _told(self) -> Iterable[tuple[Event, Entry | None]]:
        return zip(self._events, itertools.repeat(None) if self._entries is None else self._entries, strict=False)

    def _proto(self, event: Event, entry: Entry | None) -> bytes:
        number, kind, _, state = event
        if kind == EventKind.OVERFLOW:
            reset = b"\x08\x01" if state else b""
            return delimited(_OVERFLOW, reset + delimited(b"\x12", self._writer.cursor(number).encode()))
        return delimited(_FILESYSTEM, self._writer.proto(event, entry))

    def json(self) -> Sequence[bytes]:
        """Return each message in JSON."""
        return [self._json(event, entry).encode() for event, entry in self._told()]

    def _json(self, event: Event, entry: Entry | None) -> str:
        number, kind, _, state = event
        if kind == EventKind.OVERFLOW:
            reset = '"reset":true,' if state else ""
            return f'{{"overflow":{{{reset}"cursor":"{self._writer.cursor(number)}"}}}}'
        return f'{{"filesystem":{self._writer.json(event, entry)}}}'


class EncodedAnswer:
    """A GetWatcherEventsResponse that is encoded event by event."""

    def __init__(self, writer: EventWriter, *, in_json: bool) -> None:
        self._writer = writer
        self._in_json = in_json
        self._texts: list[str] = []
        self._parts: list[bytes] = []
        self._overflowed = self._reset = False

    def add(self, event: Event, entry: Entry | None = None) -> None:
        """Add a change."""
        _, kind, _, state = event
        if kind == EventKind.OVERFLOW:
            self._overflowed = True
            self._reset |= bool(state)
        elif self._in_json:
            self._texts.append(self._writer.json(event, entry))
        else:
            self._parts.append(delimited(_EVENTS, self._writer.proto(event, entry)))

    def end(self) -> bytes:
        """Return the whole."""
        if not self._in_json:
            return b"".join(self._parts) + _OVERFLOWED * self._overflowed + _RESET * self._reset
        fields = [f'"events":[{",".join(self._texts)}]'] if self._texts else []
        fields += ['"overflowed":true'] * self._overflowed + ['"reset":true'] * self._reset
        return f"{{{','.join(fields)}}}".encode()
