"""The fields of one header block. Source: pax(1p), tar(5)."""

from __future__ import annotations

import functools
from typing import NamedTuple

from envd.errors import Code, EnvdError

BLOCK = 512
_POSIX = b"ustar\0"
_GNU = b"ustar "
_BLANKS = b" \0"
_MOST = (1 << 63) - 1
_CHECKSUM_BLANKS = 8 * 0x20


class Header(NamedTuple):
    """The fields of one header block.

    Attributes:
        kind: the letter of its type.
        size: bytes that follow.
        sparse_fields: pairs of offset and length in GNU's old format, as they stand there.
        sparse_more: further ones follow in blocks of their own.
        real_size: of such a file, with its holes.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    modified_s: int
    kind: bytes
    link: bytes
    owner: bytes
    group: bytes
    sparse_fields: tuple[bytes, ...]
    sparse_more: bool
    real_size: int


@functools.lru_cache(64)  # many archives, ours too, have the same header before each extended one
def parsed(block: bytes) -> Header:
    """Read a header.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    _check_sum(block)
    magic = block[257:263]
    kind = block[156:157]
    name = _text(block[:100])
    if magic == _POSIX and block[345]:
        name = _text(block[345:500]) + b"/" + name
    named = magic in (_POSIX, _GNU)
    is_old_sparse = kind == b"S"
    return Header(
        name,
        number_of(block[100:108]),
        number_of(block[108:116]),
        number_of(block[116:124]),
        number_of(block[124:136]),
        number_of(block[136:148], signed=True),
        kind,
        _text(block[157:257]),
        _text(block[265:297]) if named else b"",
        _text(block[297:329]) if named else b"",
        tuple(block[offset : offset + 12] for offset in range(386, 482, 12)) if is_old_sparse else (),
        is_old_sparse and block[482] != 0,
        number_of(block[483:495]) if is_old_sparse else 0,
    )


def number_of(field: bytes, *, signed: bool = False) -> int:
    """Return a number: octal digits, or, with the first bit set, big-endian binary as GNU tar writes it.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        if (value < 0 and not signed) or value > _MOST:
            raise _damaged()
        return value
    text = field.partition(b"\0")[0].strip(_BLANKS)
    try:
        value = int(text, 8) if text else 0
    except ValueError as exc:
        raise _damaged() from exc
    if value < 0:
        raise _damaged()
    return value


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _check_sum(block: bytes) -> None:
    field = block[148:156]
    computed = sum(block) - sum(field) + _CHECKSUM_BLANKS
    recorded = number_of(field)
    if recorded == computed:
        return
    # Some old programs added up signed bytes.
    high = sum(byte > 0x7F for byte in block) - sum(byte > 0x7F for byte in field)
    if recorded != computed - 256 * high:
        raise _damaged()


def _damaged() -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, "this is no tar archive, or a damaged one: a header is malformed")
