"""Finds expressions in output until a deadline. No clock and no network in here."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

from envd_sdk.output import Piece
from envd_sdk.results import StreamName

# Characters of each stream that an expression is compared with, the newest ones.
WINDOW = 64 * 1024
_STREAMS: tuple[StreamName, ...] = ("stdout", "stderr", "pty")

# Seconds between two looks at something that cannot say when it has changed: the first, and the longest.
FIRST_LOOK_S = 0.02
LONGEST_LOOK_S = 0.25


class Deadline:
    """A deadline, which may be never."""

    def __init__(self, timeout_s: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = None if timeout_s is None else clock() + timeout_s

    def left_s(self) -> float | None:
        """Seconds that are left, at least a millisecond; None for no limit."""
        return None if self._end is None else max(self._end - self._clock(), 0.001)

    def passed(self) -> bool:
        return self._end is not None and self._clock() >= self._end


class OutputMatcher:
    """Finds expressions in output that comes in pieces. What lies behind the last match stays for the next search.

    Of each stream the newest WINDOW characters stay, and all of the piece that came last.
    """

    def __init__(self) -> None:
        self._windows: dict[StreamName, _Window] = {}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, piece: Piece) -> StreamName:
        """Add a piece to what came before it; the name of its stream."""
        name, text = self._named(piece)
        self._windows.setdefault(name, _Window()).add(text)
        return name

    def find(self, pattern: re.Pattern[str], stream: StreamName | None = None) -> re.Match[str] | None:
        """The first match in a stream; what is before its end is not looked at again."""
        for name in _STREAMS if stream is None else (stream,):
            window = self._windows.get(name)
            match = None if window is None else window.find(pattern)
            if match is not None:
                return match
        return None

    def clear(self) -> None:
        """Forget what came: something else has had it."""
        self._windows.clear()

    def _named(self, piece: Piece) -> tuple[StreamName, str]:
        if piece.stdout is not None:
            return "stdout", piece.stdout
        if piece.stderr is not None:
            return "stderr", piece.stderr
        return "pty", self._decoder.decode(piece.pty or b"")


class _Window:
    """The newest text of one stream, and from where on it is searched."""

    def __init__(self) -> None:
        self._text = ""
        self._begin = 0

    def add(self, text: str) -> None:
        # The character before the place tells `^` and `\b` whether a line or word begins there.
        cut = max(self._begin - 1, len(self._text) - WINDOW, 0)
        self._text = self._text[cut:] + text
        self._begin = max(self._begin - cut, 0)

    def find(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.search(self._text, self._begin)
        if match is not None:
            self._begin = match.end()
        return match
