"""Reading the tar archives that a sandbox sends: POSIX's (pax), with holes as GNU tar stores them. Blocking.

Not the standard library's reader: before Python 3.11.4 that cannot say what is safe, and until later versions a damaged
archive can keep it busy for ever. Source: pax(1p); GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import IO

from envd_sdk.exceptions import SandboxException

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_MOST_EXTENSION_BYTES = 1024 * 1024
_MOST_EXTENTS = 65_536
_MOST_DIGITS = 20
_MOST_SIZE = (1 << 63) - 1
_CHECKSUM_BLANKS = 8 * 0x20
_BILLION = 1_000_000_000
_MOST_TIME_NS = (1 << 40) * _BILLION


class Kind(Enum):
    """The type of an entry, by its letter in the archive."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    DIRECTORY = b"5"


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: as it stands there; nothing says that it is safe.
        mode: permissions and set-id bits.
        size: bytes of the file, holes included.
        link: what a link leads to, as it stands there.
        extents: offset and length of each piece of content that is stored, in ascending order.
        offset: of the stored content in the archive.
    """

    name: bytes
    kind: Kind
    mode: int
    modified_ns: int
    size: int
    link: bytes
    extents: tuple[tuple[int, int], ...]
    offset: int


def members(archive: IO[bytes]) -> Iterator[Member]:
    """Yield the entries of an archive, from its beginning; whoever takes them may read and seek in between.

    Raises:
        SandboxException: it is damaged, cut short, or has entries that no sandbox sends.
    """
    offset = 0
    while (block := _read(archive, offset, _BLOCK)) != _ZEROS:
        offset += _BLOCK
        records: dict[bytes, bytes] = {}
        while block[156:157] == b"x":
            size = _size(block)
            if size > _MOST_EXTENSION_BYTES:
                raise _damaged("an extended header is too long")
            records.update(_records(_read(archive, offset, size)))
            offset += size + -size % _BLOCK
            block = _read(archive, offset, _BLOCK)
            offset += _BLOCK
        member, stored = _member(archive, offset, block, records)
        yield member
        offset += stored + -stored % _BLOCK


def _member(archive: IO[bytes], begin: int, block: bytes, records: dict[bytes, bytes]) -> tuple[Member, int]:
    """The entry of a header, and how many bytes of the archive follow that."""
    header_size = _size(block)
    stored = _decimal(records[b"size"]) if b"size" in records else header_size
    name = records.get(b"GNU.sparse.name") or records.get(b"path") or _text(block[:100])
    letter = block[156:157]
    if letter not in (kind.value for kind in Kind):
        raise SandboxException(f"the archive has {shown(name)}, which is neither file, directory nor link")
    kind = Kind(letter)
    size, offset = stored, begin
    extents: tuple[tuple[int, int], ...] = ((0, stored),) if stored else ()
    if kind is not Kind.FILE:
        size, extents, stored = 0, (), 0
    elif b"GNU.sparse.major" in records:
        size = _decimal(records.get(b"GNU.sparse.realsize", b""))
        offset, numbers = _map(archive, begin)
        extents = _extents(numbers, size, stored - (offset - begin))
    mtime = records.get(b"mtime")
    modified_ns = _octal(block[136:148]) * _BILLION if mtime is None else _time(mtime)
    link = records.get(b"linkpath") or _text(block[157:257])
    mode = _octal(block[100:108]) & 0o7777
    return Member(name, kind, mode, modified_ns, size, link, extents, offset), stored


def _read(archive: IO[bytes], offset: int, size: int) -> bytes:
    archive.seek(offset)
    data = archive.read(size)
    if len(data) < size:
        raise _damaged("it is cut short")
    return data


def _size(block: bytes) -> int:
    """The bytes behind a header, whose checksum must be right."""
    if _octal(block[148:156]) != sum(block) - sum(block[148:156]) + _CHECKSUM_BLANKS:
        raise _damaged("a header has another checksum")
    return _octal(block[124:136])


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    begin = 0
    while begin < len(data):
        blank = data.find(b" ", begin, begin + _MOST_DIGITS)
        end = begin + _decimal(data[begin : max(blank, begin)])
        keyword, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end <= blank + 1 or end > len(data) or data[end - 1] != 0x0A or not equals:
            raise _damaged("an extended header is malformed")
        yield keyword, value
        begin = end


def _map(archive: IO[bytes], offset: int) -> tuple[int, list[int]]:
    """Where the content of a file with holes begins, behind its map, and the numbers in that."""
    numbers: list[int] = []
    text = b""
    while not numbers or len(numbers) < 1 + 2 * numbers[0]:
        text += _read(archive, offset, _BLOCK)
        offset += _BLOCK
        *lines, text = text.split(b"\n")
        numbers += map(_decimal, lines)
        if len(text) > _BLOCK or (numbers and numbers[0] > _MOST_EXTENTS):
            raise _damaged("the map of a file with holes is malformed or too long")
    if len(numbers) > 1 + 2 * numbers[0]:
        raise _damaged("the map of a file with holes has more numbers than it says")
    return offset, numbers[1:]


def _extents(numbers: Sequence[int], size: int, stored: int) -> tuple[tuple[int, int], ...]:
    extents = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in extents:
        if offset < end:
            raise _damaged("the map of a file with holes does not ascend")
        end = offset + length
    if end > size or sum(length for _, length in extents) != stored:
        raise _damaged("the map of a file with holes does not fit its size")
    return tuple(extent for extent in extents if extent[1])


def _octal(field: bytes) -> int:
    text = _text(field).strip(b" ")
    if text.strip(b"01234567"):
        raise _damaged("a header has no number where one belongs")
    return int(text or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MOST_DIGITS or int(text) > _MOST_SIZE:
        raise _damaged("an extended header has no number where one belongs")
    return int(text)


def _time(text: bytes) -> int:
    seconds, _, fraction = text.removeprefix(b"-").partition(b".")
    time_ns = _decimal(seconds) * _BILLION + _decimal((fraction[:9] or b"0").ljust(9, b"0"))
    time_ns = min(time_ns, _MOST_TIME_NS)
    return -time_ns if text.startswith(b"-") else time_ns


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def shown(name: bytes) -> str:
    """Return a name for a message."""
    return name[:200].decode(errors="replace")


def _damaged(why: str) -> SandboxException:
    return SandboxException(f"the archive is damaged: {why}")
