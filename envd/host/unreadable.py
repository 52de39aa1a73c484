"""Records that another version of the daemon wrote: unknown fields are passed over, missing ones have their default.

A record carries the version of its format. One that cannot be read all the same costs that one thing, never the start
of a server: there may be processes, uploads and watches beside it that can.
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
"""The exceptions that reading a malformed record raises."""


def known_fields(kind: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return those fields that a dataclass has."""
    return {field.name: fields[field.name] for field in dataclasses.fields(kind) if field.name in fields}
