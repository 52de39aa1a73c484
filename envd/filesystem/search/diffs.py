"""Unified diffs of changes that are known, so that nothing has to be compared. Source: diff(1), POSIX."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .text import Encoding

_CONTEXT = 3
_NO_END = b"\\ No newline at end of file"

Change = tuple[int, int, str]
"""A change of a text: begin and end of the replaced characters, and their replacement."""


class _Region(NamedTuple):
    """Whole lines that change: their begin and end in the old text, and the lines that replace them."""

    begin: int
    end: int
    new: list[str]


def unified(path: str, text: str, changes: list[Change], encoding: Encoding, limit: int) -> tuple[bytes, bool]:
    """Return a diff in UTF-8, and whether parts of it were left out to keep it within `limit` bytes."""
    shown = path.encode("utf-8", "surrogateescape")
    parts = [b"--- %b\n+++ %b\n" % (shown, shown)]
    size = len(parts[0])
    line, position, grown = 1, 0, 0
    for regions in _together(text, _regions(text, changes)):
        begin = _lines_back(text, regions[0].begin)
        line, position = line + text.count("\n", position, begin), begin
        hunk, grown = _hunk(text, begin, regions, line, grown)
        data = (hunk.replace("\n", "\r\n") if encoding.crlf else hunk).encode("utf-8", _errors(encoding))
        data = _with_plain_notes(data) if encoding.crlf else data
        if size + len(data) > limit:
            return (b"".join(parts) if len(parts) > 1 else b""), True
        parts.append(data)
        size += len(data)
    return (b"".join(parts) if len(parts) > 1 else b""), False


def _errors(encoding: Encoding) -> str:
    return "surrogateescape" if encoding.name == "utf-8" else "surrogatepass"


def _with_plain_notes(hunk: bytes) -> bytes:
    """Lines of the diff's own never end in a carriage return."""
    head, _, lines = hunk.partition(b"\r\n")
    return head + b"\n" + lines.replace(b"\r\n%b\r\n" % _NO_END, b"\n%b\n" % _NO_END)


def _regions(text: str, changes: list[Change]) -> Iterator[_Region]:
    """Yield what changes in runs of lines; changes of one line belong together."""
    run: list[Change] = []
    last = -1
    for change in changes:
        if run and change[0] >= last:
            yield _region(text, run, last)
            run = []
        run.append(change)
        last = _line_end(text, change[1])
    if run:
        yield _region(text, run, last)


def _region(text: str, run: list[Change], end: int) -> _Region:
    begin = text.rfind("\n", 0, run[0][0]) + 1
    pieces: list[str] = []
    position = begin
    for first, last, new in run:
        pieces += (text[position:first], new)
        position = last
    pieces.append(text[position:end])
    old, fresh = _lines(text[begin:end]), _lines("".join(pieces))
    while old and fresh and old[0] == fresh[0]:
        begin += len(old[0])
        del old[0], fresh[0]
    while old and fresh and old[-1] == fresh[-1]:
        end -= len(old[-1])
        del old[-1], fresh[-1]
    return _Region(begin, end, fresh)


def _together(text: str, regions: Iterator[_Region]) -> Iterator[list[_Region]]:
    """Yield regions whose context would overlap together."""
    run: list[_Region] = []
    for region in regions:
        if run and text.count("\n", run[-1].end, region.begin) > 2 * _CONTEXT:
            yield run
            run = []
        run.append(region)
    if run:
        yield run


def _hunk(text: str, begin: int, regions: list[_Region], line: int, grown: int) -> tuple[str, int]:
    """Return a hunk, and by how many lines the text has grown with it.

    Its first line of context begins at `begin` and is number `line` in the old text, which has grown by so many lines
    with the hunks before.
    """
    parts: list[str] = []
    old_count = new_count = 0
    position = begin
    for region in regions:
        context, old = _lines(text[position : region.begin]), _lines(text[region.begin : region.end])
        parts += [*_marked(" ", context), *_marked("-", old), *_marked("+", region.new)]
        old_count += len(context) + len(old)
        new_count += len(context) + len(region.new)
        position = region.end
    context = _lines(text[position : _lines_on(text, position)])
    parts += _marked(" ", context)
    old_count, new_count = old_count + len(context), new_count + len(context)
    # An empty range is named by the line before it.
    old_first, new_first = line - (not old_count), line + grown - (not new_count)
    head = f"@@ -{_range(old_first, old_count)} +{_range(new_first, new_count)} @@\n"
    return head + "".join(parts), grown + new_count - old_count


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first},{count}"


def _marked(mark: str, lines: list[str]) -> list[str]:
    return [mark + (line if line.endswith("\n") else f"{line}\n{_NO_END.decode()}\n") for line in lines]


def _lines(text: str) -> list[str]:
    """Return lines with their ends; only a newline is one."""
    lines = text.split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _lines_back(text: str, position: int) -> int:
    for _ in range(_CONTEXT):
        position = text.rfind("\n", 0, max(position - 1, 0)) + 1
    return position


def _lines_on(text: str, position: int) -> int:
    for _ in range(_CONTEXT):
        position = _line_end(text, position)
    return position
