"""Lines as a client sees them, clipped to a limit."""

from __future__ import annotations

from typing import NamedTuple

from .expression import Span
from .text import Encoding, Window


class Line(NamedTuple):
    """A line, or lines that one match touches.

    Attributes:
        number: from 1.
        offset: in the file, in bytes.
        text: in UTF-8 as far as it is text.
        spans: where it matches, in bytes of the whole line; none: a line of context.
        clipped_before, clipped_after: bytes of the line that were left out.
    """

    number: int
    offset: int
    text: bytes
    spans: tuple[Span, ...]
    clipped_before: int
    clipped_after: int


class LinePlace:
    """A place in a window, at the beginning of a line, that moves on."""

    def __init__(self, window: Window) -> None:
        self.text = window.text
        self.encoding: Encoding = window.encoding
        self.number = window.number
        self.offset = window.offset
        self.position = 0

    def move(self, position: int) -> None:
        """Move on to a later line."""
        if position > self.position:
            self.number += self.text.count("\n", self.position, position)
            self.offset += self.encoding.size(self.text[self.position : position])
            self.position = position


def line_at(place: LinePlace, end: int, spans: list[Span] | tuple[()], limit: int) -> Line:
    shown = place.text[place.position : end]
    text = _utf8(shown)
    if len(text) != len(shown):
        spans = _in_bytes(shown, spans)
    before, size = 0, len(text)
    if size > limit:
        before, behind = _clipped(text, spans[0][0] if spans else 0, limit)
        text = text[before:behind]
    return Line(place.number, place.offset, text, tuple(spans), before, size - before - len(text))


def _in_bytes(shown: str, spans: list[Span] | tuple[()]) -> list[Span]:
    columns: list[Span] = []
    position = column = 0
    for first, last in spans:
        begin = column + len(_utf8(shown[position:first]))
        position, column = last, begin + len(_utf8(shown[first:last]))
        columns.append((begin, column))
    return columns


def _clipped(text: bytes, match: int, limit: int) -> tuple[int, int]:
    """Return the ends of a piece around a match that splits no character."""
    begin = max(min(match - limit // 4, len(text) - limit), 0)
    end = begin + limit
    for _ in range(3):
        if begin and text[begin] & 0xC0 == 0x80:
            begin += 1
        if end < len(text) and text[end] & 0xC0 == 0x80:
            end -= 1
    return begin, max(begin, end)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # halves of characters in UTF-16
