"""The names of files that do not have their own yet; who lists or watches passes over them."""

from __future__ import annotations

import re
import secrets

TEMPORARY = re.compile(r"\.envd-[0-9a-f]{16}\.tmp")
"""The names temporaries have, for the moment before they take their place, or where no file can be without a name."""


def temporary_name() -> str:
    """Return a name nobody uses."""
    return f".envd-{secrets.token_hex(8)}.tmp"
