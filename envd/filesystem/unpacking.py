"""Unpacks bodies that come as gzip. Source: RFC 1952."""

from __future__ import annotations

import zlib
from typing import Protocol

from envd.errors import Code, EnvdError

from .threads import Threads

_GZIP = 16 + zlib.MAX_WBITS
_PACKED_BYTES = 256 * 1024
_MOST_RATIO = 200
_FREE_BYTES = 64 * 1024 * 1024  # up to this any ratio will do
_MOST_BYTES = 64 * 1024 * 1024 * 1024


class Source(Protocol):
    """A source of bytes that arrive."""

    async def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""


class Unpacked:
    """A source whose bytes are unpacked as they are read. Members that follow one another count as one content.

    What comes out is bounded, at 200 times what came in and at 64 GiB: a small body cannot fill a disk.
    """

    def __init__(self, source: Source, threads: Threads) -> None:
        self._threads = threads
        self._source = source
        self._unpacker = zlib.decompressobj(_GZIP)
        self._packed = b""
        self._ended = False
        self._in_member = False
        self._in_bytes = 0
        self._out_bytes = 0

    async def read(self, size: int) -> bytes:
        """Return the next unpacked bytes, at most `size`; none at the end.

        Raises:
            EnvdError: INVALID_ARGUMENT if the body is no gzip, is cut short, or unpacks to more than is allowed.
        """
        while True:
            if not self._packed and not self._ended:
                self._packed = await self._source.read(_PACKED_BYTES)
                self._in_bytes += len(self._packed)
                self._ended = not self._packed
            if self._ended and (not self._in_member or self._unpacker.eof):
                if not self._in_bytes:
                    raise _refused("failed to create gzip reader: EOF")
                return b""
            data = await self._threads.settle(self._unpack, size)
            if data:
                return data
            if self._ended and not self._unpacker.eof:
                raise _refused("unexpected EOF: the gzip stream is cut short")

    def _unpack(self, size: int) -> bytes:
        if self._unpacker.eof:
            self._unpacker = zlib.decompressobj(_GZIP)
        self._in_member = True
        try:
            data = self._unpacker.decompress(self._packed, size)
        except zlib.error as exc:
            raise _refused(f"failed to create gzip reader: {exc}") from exc
        self._packed = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        self._out_bytes += len(data)
        check_ratio(self._in_bytes, self._out_bytes)
        return data


def check_ratio(in_bytes: int, out_bytes: int) -> None:
    """Check that what comes out of a compressed body is in proportion to what went in.

    Raises:
        EnvdError: INVALID_ARGUMENT.
    """
    if out_bytes > min(max(_FREE_BYTES, in_bytes * _MOST_RATIO), _MOST_BYTES):
        raise _refused(f"it unpacks to more than {_MOST_RATIO} times its size or 64 GiB: send it uncompressed")


def _refused(why: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"error decompressing request body: {why}")
