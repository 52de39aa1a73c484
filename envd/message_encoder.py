"""Messages written into both encodings by a table of their fields, which is compiled once.

The general codecs need an object for every message, and json_format five times as long as this. The table is plain
data, so that a process that does without protobuf's library, as a search does, can have one; tests compare it with the
contract.
"""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .varint import varint

Value = int | str | bytes | bool | None | Sequence["Value"]
Values = Sequence[Value]
"""A message: the values of its fields in the order of their numbers; None for a field that is not set."""

_VARINT, _DELIMITED = 0, 2
_quote: Callable[[str], str] = json.encoder.encode_basestring


class Kind(enum.Enum):
    """The type of a field; 64-bit integers are strings in JSON."""

    INT = 1
    INT64 = 2
    BOOL = 3
    ENUM = 4
    STRING = 5
    BYTES = 6
    MESSAGE = 7


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        name: in JSON.
        explicit: its zero or empty value is written, too.
        repeated: strings, bytes or messages.
        fields: those of its message.
        names: those of an enumeration's values.
    """

    number: int
    name: str
    kind: Kind
    explicit: bool = False
    repeated: bool = False
    fields: tuple[Any, ...] = ()  # of Field: mypy knows no recursive tuples with names
    names: tuple[str, ...] = ()


class MessageEncoder:
    """Writes the messages of one type.

    Args:
        fields: all that are ever set, in the order of their numbers.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self._explicit = tuple(field.explicit for field in fields)
        self._proto = tuple(_proto_writer(field) for field in fields)
        self._json = tuple(_json_writer(field) for field in fields)

    def proto(self, values: Values) -> bytes:
        """Return a message in binary."""
        written = zip(self._proto, self._explicit, values, strict=True)
        return b"".join([write(value) for write, zero, value in written if value or (zero and value is not None)])

    def json(self, values: Values) -> str:
        """Return a message in JSON."""
        written = zip(self._json, self._explicit, values, strict=True)
        parts = [write(value) for write, zero, value in written if value or (zero and value is not None)]
        return f"{{{','.join(parts)}}}"


def _proto_writer(field: Field) -> Callable[[Any], bytes]:
    number = field.number << 3
    if field.kind in (Kind.INT, Kind.INT64, Kind.BOOL, Kind.ENUM):
        number_tag = varint(number | _VARINT)
        return lambda value: number_tag + varint(value)
    tag = varint(number | _DELIMITED)
    content = _proto_content(field)

    def write(value: Any) -> bytes:
        data = content(value)
        return b"%b%b%b" % (tag, varint(len(data)), data)

    if field.repeated:
        return lambda values: b"".join([write(value) for value in values])
    return write


def _proto_content(field: Field) -> Callable[[Any], bytes]:
    if field.kind is Kind.MESSAGE:
        return MessageEncoder(field.fields).proto
    return str.encode if field.kind is Kind.STRING else bytes


def _json_writer(field: Field) -> Callable[[Any], str]:
    name, content = f'"{field.name}":', _json_content(field)
    if field.repeated:
        return lambda values: f"{name}[{','.join([content(value) for value in values])}]"
    return lambda value: name + content(value)


def _json_content(field: Field) -> Callable[[Any], str]:
    if field.kind is Kind.MESSAGE:
        return MessageEncoder(field.fields).json
    if field.kind is Kind.ENUM:
        names = {number: f'"{name}"' for number, name in enumerate(field.names)}
        return lambda value: names[value]
    return _JSON_SCALARS[field.kind]


_JSON_SCALARS: Mapping[Kind, Callable[[Any], str]] = {
    Kind.INT: int.__str__,
    Kind.INT64: lambda value: f'"{value}"',
    Kind.BOOL: lambda value: "true" if value else "false",
    Kind.STRING: _quote,
    Kind.BYTES: lambda value: f'"{base64.b64encode(value).decode()}"',
}
