"""Sparse files: the extents with data, and their maps in archives.

Source: GNU tar manual, "Storing Sparse Files"; lseek(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Sequence

from envd.errors import Code, EnvdError

from .member import Extent

MOST_EXTENTS = 65_536
"""More of them are not kept: when writing, the last one then covers the rest of the file."""

_BLOCK = 512
_MOST_DIGITS = 20


def extents_of(fd: int, st: os.stat_result) -> tuple[Extent, ...] | None:
    """Return where a file has data; None if that is everywhere, or not known. Blocks."""
    size = st.st_size
    if st.st_blocks * _BLOCK >= size:
        return None
    extents: list[Extent] = []
    position = 0
    try:
        while position < size:
            begin = os.lseek(fd, position, os.SEEK_DATA)
            position = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
            if len(extents) == MOST_EXTENTS - 1:
                position = size
            if begin < position:
                extents.append(Extent(begin, position - begin))
    except OSError as exc:
        if exc.errno != errno.ENXIO:  # there is no more data; anything else: nothing is known of holes
            return None
    return None if extents == [Extent(0, size)] else tuple(extents)


def to_map(extents: Sequence[Extent], size: int) -> bytes:
    """Return a map as format 1.0 has it before the data, padded to whole blocks."""
    # A file that ends with a hole has an empty extent at its end, so that GNU tar makes it long enough.
    shown = [*extents, Extent(size, 0)] if not extents or sum(extents[-1]) < size else extents
    text = b"%d\n" % len(shown) + b"".join(b"%d\n%d\n" % extent for extent in shown)
    return text + bytes(-len(text) % _BLOCK)


def read_map() -> Generator[int, bytes, tuple[int, list[int]]]:
    """Ask for blocks until a map of format 1.0 is complete; return the bytes it took, and its numbers.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is malformed or too long.
    """
    numbers: list[int] = []
    text, read_bytes, number_count = b"", 0, 1
    while len(numbers) < number_count:
        text += yield _BLOCK
        read_bytes += _BLOCK
        *lines, text = text.split(b"\n")
        for line in lines:
            if len(numbers) < number_count:
                numbers.append(number(line))
                number_count = 1 + 2 * _count(numbers[0])
        if len(text) > _BLOCK:
            raise malformed()
    return read_bytes, numbers[1:number_count]


def _count(number: int) -> int:
    if number > MOST_EXTENTS:
        raise EnvdError(Code.INVALID_ARGUMENT, f"a sparse file in the archive has more than {MOST_EXTENTS} extents")
    return number


def extents_from(numbers: Sequence[int], size: int, stored: int) -> tuple[Extent, ...]:
    """Return the extents that pairs of offset and length are.

    Args:
        numbers: the pairs, flat.
        size: of the file, holes included.
        stored: bytes of its data in the archive.

    Raises:
        EnvdError: INVALID_ARGUMENT if they do not ascend, or do not fit the sizes.
    """
    _count(len(numbers) // 2)
    extents = tuple(map(Extent, numbers[::2], numbers[1::2]))
    end = 0
    for extent in extents:
        if extent.offset < end:
            raise malformed()
        end = sum(extent)
    if end > size or sum(extent.length for extent in extents) != stored or len(numbers) % 2:
        raise malformed()
    return tuple(extent for extent in extents if extent.length)


def number(text: bytes) -> int:
    """Return a decimal number of a map.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise malformed()
    return int(text)


def malformed() -> EnvdError:
    """Return the error for a malformed map of a sparse file."""
    return EnvdError(Code.INVALID_ARGUMENT, "the archive is damaged: the map of a sparse file is malformed")
