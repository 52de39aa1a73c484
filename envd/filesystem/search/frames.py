"""Frames in the pipes between the server and a worker.

To the worker: a request, pickled, behind its length. From it: frames of a length, a kind and a payload, the last of
them DONE or FAILED.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any

HEAD = struct.Struct("<IB")
LENGTH = struct.Struct("<I")

MESSAGE = 1
"""A message of the answer, encoded."""
VALUE = 2
"""A part of the answer, of plain values."""
FAILED = 3
"""The request failed with an expected error: a code and a message."""
BROKEN = 4
"""A fault of ours: what the log is to know."""
DONE = 5
"""The end; whether the worker can be used again."""


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame."""
    return HEAD.pack(len(payload), kind) + payload


def packed(value: Any) -> bytes:
    """Return plain values (None, numbers, text, bytes, tuples and lists of them) as bytes."""
    return marshal.dumps(value)


def unpacked(payload: bytes) -> Any:
    """Return plain values."""
    return marshal.loads(payload)
