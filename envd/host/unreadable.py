"""Records that another version of the daemon wrote: what is unknown is passed over, what is missing has its default.

A record carries the version of its format. What cannot be read all the same costs that one thing, never the start of a
server: there may be programs, uploads and watches beside it that can.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Any

from envd.errors import EnvdError

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    EnvdError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading a record raises that is not what it should be."""


def known_fields(kind: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those fields that a dataclass has."""
    return {one.name: fields[one.name] for one in dataclasses.fields(kind) if one.name in fields}
