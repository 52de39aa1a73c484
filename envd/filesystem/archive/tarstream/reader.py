"""Reads a tar stream as it arrives. Source: pax(1p); tar(5); GNU tar manual, "Basic Tar Format"."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from envd.errors import Code, EnvdError

from . import sparse
from .extended import Extended, take
from .header_fields import BLOCK, Header, number_of, parsed
from .member import Extent, Member, MemberKind

_MOST_EXTENSION_BYTES = 1024 * 1024
_MOST_NAME_BYTES = 64 * 1024
_MOST_GLOBAL_BYTES = 64 * 1024
_PIECE_BYTES = 1024 * 1024
_ZEROS = bytes(BLOCK)

# Old letters for regular files, among them the contiguous ones of ustar.
_FILES = (b"0", b"\0", b"7", b"S")
_KINDS = {b"1": MemberKind.HARD_LINK, b"2": MemberKind.SYMLINK, b"5": MemberKind.DIRECTORY, b"D": MemberKind.DIRECTORY}
_REFUSED = {b"3": "a device", b"4": "a device", b"6": "a fifo", b"M": "part of another volume"}
_LABEL = b"V"

_Steps = Generator[int, bytes | memoryview, None]
_Bytes = Generator[int, bytes, bytes]


class Sink(Protocol):
    """Takes entries, one after the other."""

    def begin(self, member: Member) -> None:
        """Begin an entry."""

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Take content of a file: at this offset, in ascending order."""

    def finish(self) -> None:
        """End the entry."""


class TarReader:
    """Reads an archive of any of the usual formats: v7, ustar, pax, and GNU's with long names and sparse files.

    Holds an extended header, 1 MiB, at most; content goes through.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._partial = bytearray()
        self._complete = False
        self._global: dict[bytes, bytes] = {}
        self._steps = self._parse()
        self._want = next(self._steps)

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            EnvdError: INVALID_ARGUMENT if they are no archive, or are refused; whatever the sink raises.
        """
        begin, size = 0, len(data)
        view = memoryview(data)
        while begin < size:
            wanted_bytes = self._want
            if wanted_bytes < 0:  # any bytes, so many at most
                end = min(begin - wanted_bytes, size)
                block: bytes | memoryview = view[begin:end]
            elif not self._partial and begin + wanted_bytes <= size:
                end = begin + wanted_bytes
                block = data[begin:end]
            else:
                end = min(begin + wanted_bytes - len(self._partial), size)
                self._partial += view[begin:end]
                if len(self._partial) < wanted_bytes:
                    return
                block = bytes(self._partial)
                self._partial.clear()
            begin = end
            self._want = self._steps.send(block)

    def end(self) -> None:
        """Note that there are no more bytes.

        Raises:
            EnvdError: INVALID_ARGUMENT if the archive is not complete.
        """
        if not self._complete:
            raise EnvdError(Code.INVALID_ARGUMENT, "the archive is cut short: it ends without its end mark")

    def _parse(self) -> _Steps:
        """Ask for bytes: a positive number for exactly so many, a negative one for what is there, up to so many."""
        while True:
            block = yield BLOCK
            if block == _ZEROS:
                break
            yield from self._entry(parsed(bytes(block)))
        self._complete = True
        while True:
            yield -_PIECE_BYTES  # what comes behind the end means nothing

    def _entry(self, header: Header) -> _Steps:
        """Read extended headers and the entry they belong to."""
        fields: dict[bytes, bytes] = {}
        attributes: dict[str, bytes] = {}
        numbers: list[int] = []
        while header.kind in b"xXgLK":
            data = yield from self._extension(header)
            if header.kind in b"LK":
                fields[b"path" if header.kind == b"L" else b"linkpath"] = data.partition(b"\0")[0]
            elif header.kind == b"g":
                self._take_global(data)
            else:
                take(data, fields, attributes, numbers)
            block = yield BLOCK
            header = parsed(bytes(block))
        fields = {key: value for key, value in {**self._global, **fields}.items() if value}
        yield from self._content(Extended(header, fields, attributes, numbers))

    def _extension(self, header: Header) -> _Bytes:
        most = _MOST_NAME_BYTES if header.kind in b"LK" else _MOST_EXTENSION_BYTES
        if header.size > most:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"an extended header of the archive has {header.size} bytes: at most {most}"
            )
        if not header.size:
            return b""
        data = yield header.size + -header.size % BLOCK
        return bytes(data[: header.size])

    def _take_global(self, data: bytes) -> None:
        take(data, self._global, {}, [])
        if sum(len(key) + len(value) for key, value in self._global.items()) > _MOST_GLOBAL_BYTES:
            raise EnvdError(Code.INVALID_ARGUMENT, "the global headers of the archive are larger than 64 KiB")

    def _content(self, entry: Extended) -> _Steps:
        header = entry.header
        if header.kind == _LABEL:
            return
        if header.kind not in _FILES or entry.names_directory:
            kind = MemberKind.DIRECTORY if entry.names_directory else _KINDS.get(header.kind)
            if kind is None:
                kind_text = _REFUSED.get(header.kind, f"of the unknown kind {header.kind.decode('latin-1')!r}")
                raise EnvdError(Code.INVALID_ARGUMENT, f"{entry.name} in the archive is {kind_text}: it is refused")
            self._sink.begin(entry.member(kind))
            self._sink.finish()
            if header.kind == b"D":
                yield from self._skip(entry.stored + -entry.stored % BLOCK)
            return
        map_bytes, extents = yield from self._extents(entry)
        stored = entry.stored - map_bytes
        self._sink.begin(entry.member(MemberKind.FILE, extents))
        for extent in (Extent(0, stored),) if extents is None else extents:
            yield from self._range(extent)
        self._sink.finish()
        yield from self._skip(-entry.stored % BLOCK)

    def _extents(self, entry: Extended) -> Generator[int, bytes, tuple[int, tuple[Extent, ...] | None]]:
        """Return how many of the stored bytes are a map, and where the file has data; None: everywhere."""
        map_bytes, numbers = 0, entry.numbers
        if entry.header.kind == b"S":
            numbers = yield from _old_map(entry.header)
        elif entry.has_map_in_content:
            map_bytes, numbers = yield from sparse.read_map()
        elif not entry.is_sparse:
            return 0, None
        return map_bytes, sparse.extents_from(numbers, entry.size, entry.stored - map_bytes)

    def _range(self, extent: Extent) -> _Steps:
        offset, end = extent.offset, sum(extent)
        while offset < end:
            data = yield -min(end - offset, _PIECE_BYTES)
            self._sink.write(data, offset)
            offset += len(data)

    def _skip(self, size: int) -> _Steps:
        while size:
            size -= len((yield -min(size, _PIECE_BYTES)))


def _old_map(header: Header) -> Generator[int, bytes, list[int]]:
    """Read the map of GNU's old sparse files, which goes on in further blocks."""
    fields, more = list(header.sparse_fields), header.sparse_more
    while more:
        block = yield BLOCK
        fields += [block[index : index + 12] for index in range(0, 21 * 24, 12)]
        more = block[504:505] not in (b"\0", b"")
        if len(fields) > 2 * sparse.MOST_EXTENTS + 2 * 21:
            raise sparse.malformed()
    numbers = []
    for index in range(0, len(fields), 2):
        if not fields[index].strip(b"\0 ") and not fields[index + 1].strip(b"\0 "):
            break
        numbers += [number_of(fields[index]), number_of(fields[index + 1])]
    return numbers
