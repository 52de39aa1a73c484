"""Compresses and decompresses archives in pieces: none, gzip or Zstandard. CPU-bound: call it from a thread."""

from __future__ import annotations

import enum
import sys
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Protocol

from envd.errors import Code, EnvdError
from envd.filesystem.unpacking import check_ratio

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1  # 3 times as fast as the usual 6, and the network is seldom slower
_ZSTD_LEVEL = 1
_ZSTD_WINDOW_LOG = 23  # 8 MiB, what RFC 8878 recommends to support; memory for one stream is about as much
_PIECE_BYTES = 1024 * 1024
_MAGIC_BYTES = 6


class Format(enum.Enum):
    """The compression of a tar stream; numbers as in the contract."""

    TAR = 1
    GZIP = 2
    ZSTD = 3


# xz's is six bytes long, the others' are three and four.
_MAGICS = {b"\x1f\x8b": Format.GZIP, b"\x28\xb5\x2f\xfd": Format.ZSTD}
_REFUSED = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip"}


class Packer(Protocol):
    """Compresses a stream piece by piece."""

    def pack(self, data: bytes) -> bytes:
        """Return what is ready once more data is there; may be empty."""

    def end(self) -> bytes:
        """Return the rest."""


class Unpacker(Protocol):
    """Decompresses a stream piece by piece."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes out of more data, at most 1 MiB at a time.

        Raises:
            EnvdError: INVALID_ARGUMENT if it is damaged, or grows to more than is allowed.
        """

    def end(self) -> None:
        """Note that there is no more.

        Raises:
            EnvdError: INVALID_ARGUMENT if it is cut short.
        """


def packer(form: Format) -> Packer:
    """Return what wraps a stream.

    Raises:
        EnvdError: UNIMPLEMENTED if it cannot be done here.
    """
    kinds: dict[Format, Callable[[], Packer]] = {
        Format.TAR: _Plain,
        Format.GZIP: _GzipPacker,
        Format.ZSTD: _ZstdPacker,
    }
    return kinds[form]()


def unpacker(form: Format | None) -> Unpacker:
    """Return what unwraps a stream; None looks at its first bytes.

    Raises:
        EnvdError: UNIMPLEMENTED if it cannot be done here.
    """
    if form is None:
        return _Detecting()
    kinds: dict[Format, Callable[[], Unpacker]] = {
        Format.TAR: _Untouched,
        Format.GZIP: _GzipUnpacker,
        Format.ZSTD: _ZstdUnpacker,
    }
    return kinds[form]()


def check(form: Format) -> None:
    """Check that a format can be served.

    Raises:
        EnvdError: UNIMPLEMENTED.
    """
    if form is Format.ZSTD:
        _zstd()


class _Plain:
    def pack(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class _Untouched:
    def unpack(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        pass  # the reader looks for the archive's own end


class _GzipPacker:
    def __init__(self) -> None:
        self._packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)

    def pack(self, data: bytes) -> bytes:
        return self._packer.compress(data)

    def end(self) -> bytes:
        return self._packer.flush()


class _ZstdPacker:
    def __init__(self) -> None:
        zstd = _zstd()
        options = {
            zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self._packer = zstd.ZstdCompressor(options=options)

    def pack(self, data: bytes) -> bytes:
        return bytes(self._packer.compress(data))

    def end(self) -> bytes:
        return bytes(self._packer.flush())


class _Detecting:
    """Detects the compression from the first bytes."""

    def __init__(self) -> None:
        self._first = b""
        self._unpacker: Unpacker | None = None

    def unpack(self, data: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            self._first += data
            if len(self._first) < _MAGIC_BYTES:
                return
            data, self._first = self._first, b""
            self._unpacker = _detected(data)
        yield from self._unpacker.unpack(data)

    def end(self) -> None:
        if self._unpacker is not None:
            self._unpacker.end()


def _detected(data: bytes) -> Unpacker:
    for magic, name in _REFUSED.items():
        if data.startswith(magic):
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"this is {name}: a tar archive can be uncompressed, gzip or Zstandard"
            )
    return unpacker(next((form for magic, form in _MAGICS.items() if data.startswith(magic)), Format.TAR))


class _Counted:
    """Checks that what comes out stays in proportion to what goes in."""

    def __init__(self) -> None:
        self._in_bytes = 0
        self._out_bytes = 0

    def _count_in(self, data: bytes) -> None:
        self._in_bytes += len(data)

    def _count_out(self, data: bytes) -> bytes:
        self._out_bytes += len(data)
        check_ratio(self._in_bytes, self._out_bytes)
        return data


class _GzipUnpacker(_Counted):
    def __init__(self) -> None:
        super().__init__()
        self._unpacker = zlib.decompressobj(_GZIP)
        self._begun = False

    def unpack(self, data: bytes) -> Iterator[bytes]:
        self._count_in(data)
        while data:
            if self._unpacker.eof:
                data = data.lstrip(b"\0")  # tapes have been padded, and gzip(1) ignores it
                if not data:
                    return
                self._unpacker = zlib.decompressobj(_GZIP)
            self._begun = True
            try:
                out = self._unpacker.decompress(data, _PIECE_BYTES)
            except zlib.error as exc:
                raise _damaged("gzip", exc) from exc
            data = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
            if out:
                yield self._count_out(out)

    def end(self) -> None:
        if not self._unpacker.eof:
            raise _cut_short("gzip")


class _ZstdUnpacker(_Counted):
    def __init__(self) -> None:
        super().__init__()
        self._zstd = _zstd()
        self._options = {self._zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._unpacker = self._zstd.ZstdDecompressor(options=self._options)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        self._count_in(data)
        while data or not (self._unpacker.eof or self._unpacker.needs_input):
            if self._unpacker.eof:
                self._unpacker = self._zstd.ZstdDecompressor(options=self._options)
            try:
                out = self._unpacker.decompress(data, _PIECE_BYTES)
            except self._zstd.ZstdError as exc:
                raise _damaged("Zstandard", exc) from exc
            data = self._unpacker.unused_data if self._unpacker.eof else b""
            if out:
                yield self._count_out(out)

    def end(self) -> None:
        if not self._unpacker.eof:
            raise _cut_short("Zstandard")


def _zstd() -> ModuleType:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415 - late: hardly ever needed
        else:
            from backports import zstd  # noqa: PLC0415
    except ImportError as exc:
        raise EnvdError(
            Code.UNIMPLEMENTED, "this daemon was installed without Zstandard: use gzip, or install sandbox-envd[zstd]"
        ) from exc
    return zstd


def _damaged(name: str, exc: Exception) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"the archive is damaged: {name}: {exc}")


def _cut_short(name: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"the archive is cut short: the {name} stream has no end")
