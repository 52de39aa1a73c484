"""Byte ranges a client asks for. Source: RFC 9110, section 14."""

from __future__ import annotations

from dataclasses import dataclass

_MOST = 64  # in one answer; who asks for more gets the whole file


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file: `length` of them from `start` on."""

    start: int
    length: int

    def of(self, size: int) -> str:
        """Return it as Content-Range says it."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


class MalformedRangeError(Exception):
    """The header is no range of bytes."""


class NoOverlapError(Exception):
    """None of the ranges has a byte in the file."""


def spans_from_range(text: str, size: int) -> tuple[Span, ...]:
    """Return what a Range header asks for of a file of `size` bytes, in its order; nothing means the whole file.

    Ranges that together are longer than the file, or too many, mean the whole file too: nobody makes us send more than
    there is.

    Raises:
        MalformedRangeError: the header is none of the forms, or has another unit.
        NoOverlapError: the file has nothing of what is asked for, and is not empty.
    """
    unit, equals, range_set = text.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        raise MalformedRangeError
    pieces = [piece.strip() for piece in range_set.split(",") if piece.strip()]
    if not pieces:
        raise MalformedRangeError
    spans = tuple(span for span in (_span(piece, size) for piece in pieces) if span is not None)
    if not spans and size:
        raise NoOverlapError
    if len(spans) > _MOST or sum(span.length for span in spans) > size:
        return ()
    return spans


def _span(text: str, size: int) -> Span | None:
    """Read one range; None if the file has nothing of it."""
    first, dash, last = (piece.strip() for piece in text.partition("-"))
    if not dash or not (first or last):
        raise MalformedRangeError
    begin, end = _number(first), _number(last)
    if begin is None:
        length = min(end or 0, size)
        return Span(size - length, length) if length else None
    if end is not None and end < begin:
        raise MalformedRangeError
    if begin >= size:
        return None
    return Span(begin, min(size if end is None else end + 1, size) - begin)


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise MalformedRangeError
    return int(text) if len(text) < 20 else 1 << 63  # beyond any file, and cheap to read
