"""Numbers and fields in protobuf's binary encoding, for what the general codec is too slow for."""

from __future__ import annotations

_SMALL = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """Return a number in protobuf's binary encoding; a negative one in 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = []
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(tag: bytes, data: bytes) -> bytes:
    """Return a field of bytes, text or a message, behind its tag."""
    return tag + varint(len(data)) + data
