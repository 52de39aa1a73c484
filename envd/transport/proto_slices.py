"""Protobuf's binary encoding parsed in slices: a message of many elements takes the interpreter for long otherwise.

The library parses a message in one step of C during which nothing else runs, in whatever thread. But a message is the
concatenation of its fields, and one that occurs several times is merged: so its pieces can be parsed one after another.
Source: protobuf's encoding guide, "Last One Wins".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from envd.varint import varint

# Smaller ones are parsed at once: 64 KiB have at most 32 768 elements, which take a few milliseconds.
WHOLE_BYTES = 64 * 1024
_FEW = 200
_AT_ONCE = 1000
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5

# Numbers of the messages around a field, and where it begins and ends.
_Element = tuple[tuple[int, ...], int, int]


class TooManyElementsError(Exception):
    """The message has more elements than it may."""


def is_of_many(data: bytes, kind: type[Message]) -> bool:
    """Tell whether a message has more than 200 elements; does not read on once it knows."""
    if len(data) <= WHOLE_BYTES:
        return False
    try:
        return next(islice(_elements(data, kind.DESCRIPTOR, (), 0, len(data)), _FEW, None), None) is not None
    except (DecodeError, IndexError):
        return True


def parse(data: bytes, kind: type[Message], most: int) -> Message:
    """Parse a message; for threads, which let others run between the slices.

    Raises:
        TooManyError: it has more than `most` elements.
        DecodeError: it is none.
    """
    message, found = kind(), 0
    around: tuple[int, ...] = ()
    begin = end = held = 0
    try:
        for path, at, behind in _elements(data, kind.DESCRIPTOR, (), 0, len(data)):
            found += 1
            if found > most:
                raise TooManyElementsError
            if path != around or at != end or held == _AT_ONCE:
                _merge(message, around, data[begin:end])
                around, begin, held = path, at, 0
            end, held = behind, held + 1
    except IndexError as exc:
        raise DecodeError("it was cut short") from exc
    _merge(message, around, data[begin:end])
    return message


def _merge(message: Message, around: tuple[int, ...], piece: bytes) -> None:
    for number in reversed(around):
        piece = varint(number << 3 | _DELIMITED) + varint(len(piece)) + piece
    message.MergeFromString(piece)


def _elements(data: bytes, descriptor: Any, around: tuple[int, ...], at: int, end: int) -> Iterator[_Element]:
    """Yield the fields of a message, and instead of a large message in it the fields of that."""
    while at < end:
        begin = at
        tag, at = _number(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _DELIMITED:
            size, inner = _number(data, at)
            at = inner + size
            within = _message_at(descriptor, number) if WHOLE_BYTES < size <= end - inner else None
            if within is not None:
                yield from _elements(data, within, (*around, number), inner, at)
                continue
        else:
            at = _behind(data, at, kind)
        if at > end:
            raise DecodeError("it was cut short")
        yield around, begin, at


def _message_at(descriptor: Any, number: int) -> Any | None:
    """Return what a field's message is that can be merged from pieces; None for every other field."""
    field = descriptor.fields_by_number.get(number)
    merges = field is not None and field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated
    return field.message_type if merges else None


def _behind(data: bytes, at: int, kind: int) -> int:
    if kind == _VARINT:
        return _number(data, at)[1]
    if kind in (_FIXED64, _FIXED32):
        return at + (8 if kind == _FIXED64 else 4)
    raise DecodeError("groups are not used")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise DecodeError("a number of more than ten bytes")
