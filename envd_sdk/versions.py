"""Versions of daemons."""

from __future__ import annotations

_OLDEST = (0, 1, 0)


def too_old(version: str) -> bool:
    """Whether a daemon of that version cannot be used. One that cannot be read is given the benefit of the doubt."""
    try:
        numbers = tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:3])
    except ValueError:
        return False
    return numbers < _OLDEST
