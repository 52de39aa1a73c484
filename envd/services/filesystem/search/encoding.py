"""Messages of a search, written straight into both encodings by a table of their fields; numbers: search.proto."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from envd.errors import readable
from envd.filesystem.lossy_names import raw_of
from envd.filesystem.search.grepping import GrepPart
from envd.filesystem.search.line_view import Line
from envd.filesystem.search.summaries import FindSummary, GrepSummary, Skip
from envd.varint import varint

_quote: Callable[[str], str] = json.encoder.encode_basestring

Value = int | str | bytes | bool | None | Sequence["Value"]
Values = Sequence[Value]
"""A message: what stands in its fields, in the order of the table. None and what is zero or empty is left out."""


class _Field(NamedTuple):
    """A field of a message.

    Attributes:
        kind: "number", "large" (64 bits: a string in JSON), "enum", "flag", "text", "bytes", "messages" or "message".
        of: of messages, their fields; of an enumeration, the names of its values.
    """

    number: int
    name: str
    kind: str
    of: tuple[_Field, ...] | tuple[str, ...] = ()


_SKIP_REASONS = ("UNSPECIFIED", "UNREADABLE", "BINARY", "TOO_LARGE", "TOO_SLOW", "CHANGED")

_SUBMATCH = (_Field(1, "start", "large"), _Field(2, "end", "large"))
_LINE = (
    _Field(1, "number", "large"),
    _Field(2, "offset", "large"),
    _Field(3, "text", "text"),
    _Field(4, "raw", "bytes"),
    _Field(5, "submatches", "messages", _SUBMATCH),
    _Field(6, "clippedBefore", "large"),
    _Field(7, "clippedAfter", "large"),
)
_FILE = (
    _Field(1, "path", "text"),
    _Field(2, "rawPath", "bytes"),
    _Field(3, "lines", "messages", _LINE),
    _Field(4, "matches", "large"),
)
_SKIPPED = (
    _Field(1, "path", "text"),
    _Field(2, "rawPath", "bytes"),
    _Field(3, "reason", "enum", tuple(f"SKIP_REASON_{name}" for name in _SKIP_REASONS)),
    _Field(4, "errno", "number"),
)
_GREP_SUMMARY = (
    _Field(1, "filesSearched", "large"),
    _Field(2, "filesMatched", "large"),
    _Field(3, "filesSkipped", "large"),
    _Field(4, "matches", "large"),
    _Field(5, "bytesSearched", "large"),
    _Field(6, "truncated", "flag"),
)
_FIND_SUMMARY = (
    _Field(1, "entries", "large"),
    _Field(2, "examined", "large"),
    _Field(3, "skipped", "large"),
    _Field(4, "truncated", "flag"),
)
_GREP_RESPONSE = (
    _Field(1, "files", "messages", _FILE),
    _Field(2, "skipped", "messages", _SKIPPED),
    _Field(3, "summary", "message", _GREP_SUMMARY),
)
_FIND_REST = (_Field(2, "skipped", "messages", _SKIPPED), _Field(3, "summary", "message", _FIND_SUMMARY))


def grep_response(parts: list[GrepPart], skips: list[Skip], summary: GrepSummary | None, *, in_json: bool) -> bytes:
    """Return a GrepResponse."""
    values = ([_part(part) for part in parts], [_skip(skip) for skip in skips], summary)
    return _json(_GREP_RESPONSE, values).encode() if in_json else _proto(_GREP_RESPONSE, values)


def find_response(entries: list[bytes], skips: list[Skip], summary: FindSummary | None, *, in_json: bool) -> bytes:
    """Return a FindResponse, of entries that are encoded already."""
    values = ([_skip(skip) for skip in skips], summary)
    if not in_json:
        framed = [part for entry in entries for part in (b"\x0a", varint(len(entry)), entry)]
        return b"".join(framed) + _proto(_FIND_REST, values)
    fields = _json(_FIND_REST, values).encode()
    if not entries:
        return fields
    return b'{"entries":[%b]%b' % (b",".join(entries), b"," + fields[1:] if len(fields) > 2 else b"}")


def _part(part: GrepPart) -> Values:
    return (readable(part.path), raw_of(part.path), [_line(line) for line in part.lines], part.matches)


def _line(line: Line) -> Values:
    try:
        text, raw = line.text.decode(), None
    except UnicodeDecodeError:
        text, raw = line.text.decode(errors="replace"), line.text
    return (line.number, line.offset, text, raw, line.spans, line.clipped_before, line.clipped_after)


def _skip(skip: Skip) -> Values:
    return (readable(skip.path), raw_of(skip.path), skip.reason, skip.errno)


def _proto(fields: Sequence[object], values: Values) -> bytes:
    parts: list[bytes] = []
    for field, value in zip(fields, values, strict=True):
        assert isinstance(field, _Field)
        if value:
            _add_proto(field, value, parts)
        elif value is not None and field.kind == "message":
            parts.append(bytes((field.number << 3 | 2, 0)))
    return b"".join(parts)


def _add_proto(field: _Field, value: Value, parts: list[bytes]) -> None:
    if isinstance(value, int):
        parts.append(bytes((field.number << 3,)) + varint(int(value)))
        return
    tag = bytes((field.number << 3 | 2,))
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        parts += (tag, varint(len(value)), value)
        return
    assert value is not None
    for each in value if field.kind == "messages" else (value,):
        data = _proto(field.of, each)  # type: ignore[arg-type]  # as the table says
        parts += (tag, varint(len(data)), data)


def _json(fields: Sequence[object], values: Values) -> str:
    parts: list[str] = []
    for field, value in zip(fields, values, strict=True):
        assert isinstance(field, _Field)
        if value or (value is not None and field.kind == "message"):
            parts.append(f'"{field.name}":{_json_value(field, value)}')
    return f"{{{','.join(parts)}}}"


def _json_value(field: _Field, value: Value) -> str:
    if isinstance(value, int):
        return _json_number(field, int(value))
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    assert value is not None
    if field.kind == "message":
        return _json(field.of, value)
    return f"[{','.join(_json(field.of, each) for each in value)}]"  # type: ignore[arg-type]  # as the table says


def _json_number(field: _Field, value: int) -> str:
    if field.kind == "enum":
        return f'"{field.of[value]}"'  # a name, as the table says
    if field.kind == "flag":
        return "true"
    return f'"{value}"' if field.kind == "large" else f"{value}"
