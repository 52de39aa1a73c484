"""Changes as messages, written straight into both encodings. Field numbers: filesystem.proto."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envd.filesystem.encoding import EntryEncoder, raw_path, text_of
from envd.filesystem.entries import Entry
from envd.rpc import varint

from .events import Event, Kind

_quote: Callable[[str], str] = json.encoder.encode_basestring

_KINDS = {kind: f"EVENT_TYPE_{kind.name}" for kind in (Kind.CREATE, Kind.WRITE, Kind.REMOVE, Kind.RENAME, Kind.CHMOD)}
_CURSOR, _RAW_NAME = b"\xc2\x3e", b"\xca\x3e"
_FILESYSTEM, _OVERFLOW = b"\x12", b"\xc2\x3e"
_EVENTS, _OVERFLOWED, _RESET = b"\x0a", b"\xc0\x3e\x01", b"\xc8\x3e\x01"


@dataclass(frozen=True, slots=True)
class Told:
    """A change on its way to a client.

    Attributes:
        entry: what there is by that name now, if that is to be told.
        cursor: empty if the client knows none.
    """

    event: Event
    entry: Entry | None = None
    cursor: str = ""


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + varint(len(data)) + data


def proto_event(told: Told, encoder: EntryEncoder) -> bytes:
    """Return a FilesystemEvent in binary."""
    name = told.event.name
    parts = [_field(b"\x0a", text_of(name).encode()), b"\x10", varint(told.event.kind)]
    if told.entry is not None:
        parts.append(_field(b"\x1a", encoder.proto(told.entry)))
    if told.cursor:
        parts.append(_field(_CURSOR, told.cursor.encode()))
    raw = raw_path(name)
    if raw is not None:
        parts.append(_field(_RAW_NAME, raw))
    return b"".join(parts)


def json_event(told: Told, encoder: EntryEncoder) -> str:
    """Return a FilesystemEvent in JSON."""
    name = told.event.name
    parts = [f'{{"name":{_quote(text_of(name))},"type":"{_KINDS[Kind(told.event.kind)]}"']
    if told.entry is not None:
        parts.append(f',"entry":{encoder.json(told.entry)}')
    if told.cursor:
        parts.append(f',"cursor":"{told.cursor}"')
    raw = raw_path(name)
    if raw is not None:
        parts.append(f',"rawName":"{base64.b64encode(raw).decode()}"')
    parts.append("}")
    return "".join(parts)


class EncodedChanges:
    """A run of WatchDirResponses. Implements envd.rpc.Encoded."""

    __slots__ = ("_encoder", "_told", "position")

    def __init__(self, told: Sequence[Told], encoder: EntryEncoder) -> None:
        self.position = told[-1].event.number
        self._told = told
        self._encoder = encoder

    def proto(self) -> Sequence[bytes]:
        """Return each message in binary."""
        return [self._proto(told) for told in self._told]

    def _proto(self, told: Told) -> bytes:
        if told.event.kind == Kind.OVERFLOW:
            reset = b"\x08\x01" if told.event.state else b""
            return _field(_OVERFLOW, reset + _field(b"\x12", told.cursor.encode()))
        return _field(_FILESYSTEM, proto_event(told, self._encoder))

    def json(self) -> Sequence[bytes]:
        """Return each message in JSON."""
        return [self._json(told).encode() for told in self._told]

    def _json(self, told: Told) -> str:
        if told.event.kind == Kind.OVERFLOW:
            reset = '"reset":true,' if told.event.state else ""
            return f'{{"overflow":{{{reset}"cursor":"{told.cursor}"}}}}'
        return f'{{"filesystem":{json_event(told, self._encoder)}}}'


class Answer:
    """A GetWatcherEventsResponse as it grows."""

    def __init__(self, encoder: EntryEncoder, *, in_json: bool) -> None:
        self._encoder = encoder
        self._in_json = in_json
        self._texts: list[str] = []
        self._parts: list[bytes] = []
        self._overflowed = self._reset = False

    def add(self, told: Told) -> None:
        """Add a change."""
        if told.event.kind == Kind.OVERFLOW:
            self._overflowed = True
            self._reset |= bool(told.event.state)
        elif self._in_json:
            self._texts.append(json_event(told, self._encoder))
        else:
            self._parts.append(_field(_EVENTS, proto_event(told, self._encoder)))

    def end(self) -> bytes:
        """Return the whole."""
        if not self._in_json:
            return b"".join(self._parts) + _OVERFLOWED * self._overflowed + _RESET * self._reset
        fields = [f'"events":[{",".join(self._texts)}]'] if self._texts else []
        fields += ['"overflowed":true'] * self._overflowed + ['"reset":true'] * self._reset
        return f"{{{','.join(fields)}}}".encode()


def answer_of(told: Sequence[Told], encoder: EntryEncoder, *, in_json: bool) -> bytes:
    """Return a GetWatcherEventsResponse."""
    answer = Answer(encoder, in_json=in_json)
    for one in told:
        answer.add(one)
    return answer.end()
