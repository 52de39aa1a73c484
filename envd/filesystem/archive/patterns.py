"""Patterns of names to leave out."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from envd.errors import Code, EnvdError

_MOST_PATTERNS = 100
_MOST_BYTES = 4096

_Segment = re.Pattern[str] | None
"""Matches one part of a name; None stands for any number of parts."""


class Excluded:
    """Tells which entries match any of some patterns, in a time that grows with the lengths only.

    A pattern without `/` is matched against the last part of a name, one with `/` against all of it. `*` and `?` match
    no `/`, `**` between slashes does; `[a-z]` and `[!a-z]` match one character.

    Raises:
        EnvdError: INVALID_ARGUMENT if they are too many, too long or empty.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if len(patterns) > _MOST_PATTERNS:
            raise EnvdError(Code.INVALID_ARGUMENT, f"{len(patterns)} patterns to exclude: at most {_MOST_PATTERNS}")
        texts = [_checked(pattern) for pattern in patterns]
        bases = [fnmatch.translate(text) for text in texts if "/" not in text]
        self._bases = re.compile("|".join(bases)) if bases else None
        self._wholes = [_segments(text) for text in texts if "/" in text]

    def matches(self, name: str, base: str) -> bool:
        """Tell whether an entry of that name, `base` being its last part, is to be left out."""
        if self._bases is not None and self._bases.match(base):
            return True
        if not self._wholes:
            return False
        parts = name.split("/")
        return any(_match(segments, parts) for segments in self._wholes)


def _checked(pattern: str) -> str:
    text = pattern.rstrip("/").removeprefix("./")
    if not text or len(pattern.encode(errors="surrogateescape")) > _MOST_BYTES:
        raise EnvdError(Code.INVALID_ARGUMENT, f"a pattern to exclude has 1 to {_MOST_BYTES} bytes: '{pattern[:80]}'")
    return text


def _segments(pattern: str) -> list[_Segment]:
    parts = pattern.lstrip("/").split("/")
    if parts[-1] == "**":
        parts.append("*")  # what is below, not the directory itself
    return [None if part == "**" else re.compile(fnmatch.translate(part)) for part in parts]


def _match(segments: list[_Segment], parts: list[str]) -> bool:
    """Match part by part. A `**` takes as few as it can; where that leads nowhere only the last one takes one more."""
    at, begin, after, taken = 0, 0, -1, 0
    while begin < len(parts):
        segment = segments[at] if at < len(segments) else _NEVER
        if segment is None:
            at += 1
            after, taken = at, begin
        elif segment.match(parts[begin]):
            at += 1
            begin += 1
        elif after >= 0:
            taken += 1
            at, begin = after, taken
        else:
            return False
    return all(segment is None for segment in segments[at:])


_NEVER = re.compile(r"(?!)")
