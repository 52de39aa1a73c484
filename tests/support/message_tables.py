"""Tables for envd.message_encoder, made from the contract."""

from __future__ import annotations

from typing import Any

from envd.message_encoder import Field, Kind

# Source: descriptor.proto, FieldDescriptorProto.Type.
_KINDS = {
    3: Kind.INT64,
    4: Kind.INT64,
    5: Kind.INT,
    8: Kind.BOOL,
    9: Kind.STRING,
    11: Kind.MESSAGE,
    12: Kind.BYTES,
    13: Kind.INT,
    14: Kind.ENUM,
}


def fields_of(descriptor: Any) -> tuple[Field, ...]:
    """Return the table of a message of the contract.

    Args:
        descriptor: protobuf's, of the message.

    Raises:
        TypeError: it has a field of a type that is not written here: a map, a Timestamp, a double, a zigzag or
            fixed number, a list of numbers, an enumeration with gaps.
    """
    return tuple(_field_of(field) for field in sorted(descriptor.fields, key=lambda field: field.number))


def _field_of(field: Any) -> Field:
    kind = _KINDS.get(field.type)
    message = field.message_type
    special = message is not None and (message.GetOptions().map_entry or message.file.package == "google.protobuf")
    if kind is None or special or (field.is_repeated and kind.value <= Kind.ENUM.value):
        raise TypeError(f"{field.full_name} has a type that no table can describe")
    return Field(
        field.number,
        field.json_name,
        kind,
        explicit=field.has_presence,
        repeated=field.is_repeated,
        fields=() if message is None else fields_of(message),
        names=() if field.enum_type is None else _names_of(field.enum_type),
    )


def _names_of(enumeration: Any) -> tuple[str, ...]:
    names = {value.number: value.name for value in enumeration.values}
    if sorted(names) != list(range(len(names))):
        raise TypeError(f"{enumeration.full_name} has gaps between its numbers")
    return tuple(names[number] for number in range(len(names)))
