"""Bytes of a stream as messages of one chunk each, written straight into both encodings.

Output, terminals, files and archives go this way, gigabytes of it: the general codecs copy each byte several times, and
so does envd.message_encoder. Field numbers and names come from the contract.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from .varint import varint

_VARINT, _DELIMITED = 0, 2

Bytes = bytes | memoryview
_Position = TypeVar("_Position")


class ChunkEncoder:
    """Writes messages of which nothing is set but a field of bytes and, beside it, `offset`.

    Args:
        descriptor: protobuf's, of the outermost message.
        names: of the fields that lead to the bytes, from the outermost message on.
    """

    def __init__(self, descriptor: Any, *names: str) -> None:
        *outer, last = names
        tags: list[bytes] = []
        opening = ""
        for name in outer:
            field = descriptor.fields_by_name[name]
            tags.append(_tag(field, _DELIMITED))
            opening += f'{{"{field.json_name}":'
            descriptor = field.message_type
        data, offset = descriptor.fields_by_name[last], descriptor.fields_by_name["offset"]
        self._outer_tags = tuple(reversed(tags))
        self._data_tag = _tag(data, _DELIMITED)
        self._offset_tag = _tag(offset, _VARINT)
        self._offset_first = offset.number < data.number
        self._opening = f'{opening}{{"{data.json_name}":"'.encode()
        self._closing = b"}" * len(names)

    def proto(self, offset: int, data: Bytes) -> bytes:
        """Return a message in binary."""
        head, tail = self._data_tag + varint(len(data)), b""
        if offset:
            tail = self._offset_tag + varint(offset)
            if self._offset_first:
                head, tail = tail + head, b""
        size = len(data) + len(tail)
        for tag in self._outer_tags:
            head = tag + varint(len(head) + size) + head
        return b"".join((head, data, tail))

    def json(self, offset: int, data: Bytes) -> bytes:
        """Return a message in JSON."""
        text = binascii.b2a_base64(data, newline=False)
        if offset:
            return b'%b%b","offset":"%d"%b' % (self._opening, text, offset, self._closing)
        return b'%b%b"%b' % (self._opening, text, self._closing)


class EncodedChunks(Generic[_Position]):
    """A run of a stream's bytes, cut into messages. Implements envd.rpc.Encoded.

    Args:
        offset: of the first byte in the stream.
        chunk_bytes: in one message at most.
        position: see envd.rpc.Encoded.
    """

    __slots__ = ("_chunk_bytes", "_data", "_encoder", "_offset", "position")

    def __init__(self, encoder: ChunkEncoder, offset: int, data: bytes, chunk_bytes: int, position: _Position) -> None:
        self._encoder = encoder
        self._offset = offset
        self._data = data
        self._chunk_bytes = chunk_bytes
        self.position = position

    def proto(self) -> Sequence[bytes]:
        """Return each message in binary."""
        write = self._encoder.proto
        return [write(offset, data) for offset, data in self._chunks()]

    def json(self) -> Sequence[bytes]:
        """Return each message in JSON."""
        write = self._encoder.json
        return [write(offset, data) for offset, data in self._chunks()]

    def _chunks(self) -> list[tuple[int, Bytes]]:
        size = self._chunk_bytes
        if len(self._data) <= size:
            return [(self._offset, self._data)] if self._data else []
        view = memoryview(self._data)
        return [(self._offset + begin, view[begin : begin + size]) for begin in range(0, len(view), size)]


def _tag(field: Any, wire_type: int) -> bytes:
    return varint(field.number << 3 | wire_type)
