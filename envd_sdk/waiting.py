"""What is waited for, and for how long. No clock and no network in here."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from envd_sdk.output import Piece
from envd_sdk.results import StreamName

# Characters of each stream that an expression is compared with, the newest ones.
WINDOW = 64 * 1024

# Seconds between two looks at something that cannot say when it has changed: the first, and the longest.
FIRST_LOOK_S = 0.02
LONGEST_LOOK_S = 0.25


class Deadline:
    """A time that comes, or never does."""

    def __init__(self, timeout_s: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = None if timeout_s is None else clock() + timeout_s

    def left_s(self) -> float | None:
        """Seconds that are left, at least a millisecond; None for no limit."""
        return None if self._end is None else max(self._end - self._clock(), 0.001)

    def passed(self) -> bool:
        return self._end is not None and self._clock() >= self._end


class Wanted:
    """An expression, looked for in output that comes in pieces."""

    def __init__(self, pattern: str | re.Pattern[str], stream: StreamName | None = None) -> None:
        self._pattern = re.compile(pattern)
        self._stream = stream
        self._windows: dict[StreamName, str] = {}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __str__(self) -> str:
        return repr(self._pattern.pattern)

    def found_in(self, piece: Piece) -> re.Match[str] | None:
        """Add a piece to what came before; the match, if there is one now."""
        name, text = self._named(piece)
        if self._stream not in (None, name):
            return None
        window = self._windows.get(name, "") + text
        self._windows[name] = window[-WINDOW:]
        return self._pattern.search(window)

    def _named(self, piece: Piece) -> tuple[StreamName, str]:
        if piece.stdout is not None:
            return "stdout", piece.stdout
        if piece.stderr is not None:
            return "stderr", piece.stderr
        return "pty", self._decoder.decode(piece.pty or b"")
