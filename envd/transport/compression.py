"""gzip, the one compression all wires share. Inflating is bounded: a small message cannot become a huge one."""

from __future__ import annotations

import zlib

from envd.errors import Code, EnvdError

_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 1  # messages are short-lived: the fastest level that compresses at all


def is_gzip(coding: str | None) -> bool:
    """Tell whether a request's coding is gzip; absent and "identity" are not.

    Raises:
        EnvdError: UNIMPLEMENTED for any other coding.
    """
    if coding in (None, "", "identity"):
        return False
    if coding == "gzip":
        return True
    raise EnvdError(Code.UNIMPLEMENTED, f'unknown compression "{coding}": supported encodings are gzip')


def answers_gzip(accepted: str | None, *, request_gzip: bool) -> bool:
    """Tell whether to compress: if the client's list of codings names gzip, or without a list if its request was."""
    if accepted is None:
        return request_gzip
    return any(part.split(";")[0].strip() == "gzip" for part in accepted.split(","))


def deflate(data: bytes) -> bytes:
    """Compress one message."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, limit: int) -> bytes:
    """Decompress one message of at most `limit` bytes.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is no whole gzip stream, RESOURCE_EXHAUSTED if it is larger than `limit`.
    """
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(data, limit + 1)
    except zlib.error as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, "decompress: the message is not valid gzip") from exc
    if len(plain) > limit:
        raise EnvdError(Code.RESOURCE_EXHAUSTED, f"message is larger than {limit} bytes when decompressed")
    if not unpacker.eof:
        raise EnvdError(Code.INVALID_ARGUMENT, "decompress: the gzip stream is cut short")
    if unpacker.unused_data:
        raise EnvdError(Code.INVALID_ARGUMENT, "decompress: there is something behind the gzip stream")
    return plain
