"""Frames of Connect's streams and of gRPC: flags, big-endian length, payload.

Source: Connect protocol reference, "Streaming RPCs"; gRPC over HTTP2, "Length-Prefixed-Message".
"""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Sequence

from envd.errors import Code, EnvdError

from .body import RequestBody
from .compression import deflate, inflate

COMPRESSED = 0x01
END_STREAM = 0x02
_PREFIX = struct.Struct(">BI")
_INCOMPLETE = "protocol error: incomplete envelope: unexpected EOF"


def frame(payload: bytes, flags: int = 0, *, gzip: bool = False) -> bytes:
    """Wrap one message."""
    if gzip:
        payload = deflate(payload)
        flags |= COMPRESSED
    return _PREFIX.pack(flags, len(payload)) + payload


def frames(payloads: Sequence[bytes], *, gzip: bool = False) -> list[bytes]:
    """Wrap messages; prefix and payload stay apart, so that large ones are copied only once."""
    if gzip:
        payloads = [deflate(payload) for payload in payloads]
    pieces: list[bytes] = []
    for payload in payloads:
        pieces += (_PREFIX.pack(COMPRESSED if gzip else 0, len(payload)), payload)
    return pieces


async def read_payloads(body: RequestBody, limit: int, *, gzip: bool) -> AsyncGenerator[bytes, None]:
    """Yield each message of a request body, decompressed.

    Raises:
        EnvdError: INVALID_ARGUMENT for a frame that is cut short or has unknown flags, RESOURCE_EXHAUSTED for one
            larger than `limit` bytes, INTERNAL for a compressed one where no compression was announced.
    """
    while True:
        prefix = await body.read_exactly(_PREFIX.size)
        if not prefix:
            return
        if len(prefix) < _PREFIX.size:
            raise EnvdError(Code.INVALID_ARGUMENT, _INCOMPLETE)
        flags, size = _PREFIX.unpack(prefix)
        if size > limit:
            raise EnvdError(Code.RESOURCE_EXHAUSTED, f"message of {size} bytes is larger than {limit} bytes")
        if flags & ~COMPRESSED:
            raise EnvdError(Code.INVALID_ARGUMENT, f"protocol error: invalid envelope flags {flags:#04x}")
        payload = await body.read_exactly(size)
        if len(payload) < size:
            raise EnvdError(Code.INVALID_ARGUMENT, _INCOMPLETE)
        if flags & COMPRESSED and not gzip:
            raise EnvdError(Code.INTERNAL, "protocol error: sent compressed message without compression support")
        yield inflate(payload, limit) if flags & COMPRESSED else payload
