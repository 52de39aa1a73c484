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


def parse(data: bytes, kind: type[Message], max_elements: int) -> Message:
    """Parse a message; for threads, which let others run between the slices.

    Raises:
        TooManyError: it has more than `max_elements` elements.
        DecodeError: it is none.
    """
    message, count = kind(), 0
    merged: tuple[int, ...] = ()
    begin = end = held = 0
    try:
        for path, offset, behind in _elements(data, kind.DESCRIPTOR, (), 0, len(data)):
            count += 1
            if count > max_elements:
                raise TooManyElementsError
            if path != merged or offset != end or held == _AT_ONCE:
                _merge(message, merged, data[begin:end])
                merged, begin, held = path, offset, 0
            end, held = behind, held + 1
    except IndexError as exc:
        raise DecodeError("it was cut short") from exc
    _merge(message, merged, data[begin:end])
    return message


def _merge(message: Message, path: tuple[int, ...], piece: bytes) -> None:
    for number in reversed(path):
        piece = varint(number << 3 | _DELIMITED) + varint(len(piece)) + piece
    message.MergeFromString(piece)


def _elements(data: bytes, descriptor: Any, path: tuple[int, ...], offset: int, end: int) -> Iterator[_Element]:
    """Yield the fields of a message, and instead of a large message in it the fields of that."""
    while offset < end:
        begin = offset
        tag, offset = _number(data, offset)
        number, kind = tag >> 3, tag & 7
        if kind == _DELIMITED:
            size, inner = _number(data, offset)
            offset = inner + size
            within = _message_at(descriptor, number) if WHOLE_BYTES < size <= end - inner else None
            if within is not None:
                yield from _elements(data, within, (*path, number), inner, offset)
                continue
        else:
            offset = _behind(data, offset, kind)
        if offset > end:
            raise DecodeError("it was cut short")
        yield path, begin, offset


def _message_at(descriptor: Any, number: int) -> Any | None:
    """Return what a field's message is that can be merged from pieces; None for every other field."""
    field = descriptor.fields_by_number.get(number)
    merges = field is not None and field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated
    return field.message_type if merges else None


def _behind(data: bytes, offset: int, kind: int) -> int:
    if kind == _VARINT:
        return _number(data, offset)[1]
    if kind in (_FIXED64, _FIXED32):
        return offset + (8 if kind == _FIXED64 else 4)
    raise DecodeError("groups are not used")


def _number(data: bytes, offset: int) -> tuple[int, int]:
    value, shift = 0, 0
    while shift < 70:
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
    raise DecodeError("a number of more than ten bytes")
