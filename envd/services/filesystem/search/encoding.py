"""The messages of a search, written into both encodings in the process that searches.

That process does without protobuf's library, which would cost it 20 ms and 3 MB at its start: so the tables stand here,
and a test holds them against the contract.
"""

from __future__ import annotations

from envd.errors import readable
from envd.filesystem.lossy_names import raw_of
from envd.filesystem.search.grepping import GrepPart
from envd.filesystem.search.line_view import Line
from envd.filesystem.search.summaries import FindSummary, GrepSummary, Skip
from envd.message_encoder import Field, Kind, MessageEncoder, Values
from envd.varint import varint

_SKIP_REASONS = ("UNSPECIFIED", "UNREADABLE", "BINARY", "TOO_LARGE", "TOO_SLOW", "CHANGED")

_SUBMATCH = (Field(1, "start", Kind.INT64), Field(2, "end", Kind.INT64))
_LINE = (
    Field(1, "number", Kind.INT64),
    Field(2, "offset", Kind.INT64),
    Field(3, "text", Kind.STRING),
    Field(4, "raw", Kind.BYTES, explicit=True),
    Field(5, "submatches", Kind.MESSAGE, repeated=True, fields=_SUBMATCH),
    Field(6, "clippedBefore", Kind.INT64),
    Field(7, "clippedAfter", Kind.INT64),
)
_FILE = (
    Field(1, "path", Kind.STRING),
    Field(2, "rawPath", Kind.BYTES, explicit=True),
    Field(3, "lines", Kind.MESSAGE, repeated=True, fields=_LINE),
    Field(4, "matches", Kind.INT64),
)
_SKIPPED = (
    Field(1, "path", Kind.STRING),
    Field(2, "rawPath", Kind.BYTES, explicit=True),
    Field(3, "reason", Kind.ENUM, names=tuple(f"SKIP_REASON_{name}" for name in _SKIP_REASONS)),
    Field(4, "errno", Kind.INT),
)
_GREP_SUMMARY = (
    Field(1, "filesSearched", Kind.INT64),
    Field(2, "filesMatched", Kind.INT64),
    Field(3, "filesSkipped", Kind.INT64),
    Field(4, "matches", Kind.INT64),
    Field(5, "bytesSearched", Kind.INT64),
    Field(6, "truncated", Kind.BOOL),
)
_FIND_SUMMARY = (
    Field(1, "entries", Kind.INT64),
    Field(2, "examined", Kind.INT64),
    Field(3, "skipped", Kind.INT64),
    Field(4, "truncated", Kind.BOOL),
)
GREP_RESPONSE = (
    Field(1, "files", Kind.MESSAGE, repeated=True, fields=_FILE),
    Field(2, "skipped", Kind.MESSAGE, repeated=True, fields=_SKIPPED),
    Field(3, "summary", Kind.MESSAGE, explicit=True, fields=_GREP_SUMMARY),
)
# But for its entries, field 1.
FIND_REST = (
    Field(2, "skipped", Kind.MESSAGE, repeated=True, fields=_SKIPPED),
    Field(3, "summary", Kind.MESSAGE, explicit=True, fields=_FIND_SUMMARY),
)


_GREP, _FIND = MessageEncoder(GREP_RESPONSE), MessageEncoder(FIND_REST)


def grep_response(parts: list[GrepPart], skips: list[Skip], summary: GrepSummary | None, *, in_json: bool) -> bytes:
    """Return a GrepResponse."""
    values = ([_part(part) for part in parts], [_skip(skip) for skip in skips], summary)
    return _GREP.json(values).encode() if in_json else _GREP.proto(values)


def find_response(entries: list[bytes], skips: list[Skip], summary: FindSummary | None, *, in_json: bool) -> bytes:
    """Return a FindResponse, of entries that are encoded already."""
    values = ([_skip(skip) for skip in skips], summary)
    if not in_json:
        framed = [part for entry in entries for part in (b"\x0a", varint(len(entry)), entry)]
        return b"".join(framed) + _FIND.proto(values)
    fields = _FIND.json(values).encode()
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
