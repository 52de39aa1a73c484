"""Finds text in files. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .cpu_limit import CpuLimit, TooSlowError
from .expression import Expression, Span, line_around
from .line_view import Line, LinePlace, line_at
from .match import Match
from .requests import GrepOutput, GrepRequest
from .summaries import SkipReason
from .text import BinaryError, TooLargeError, Window, whole, windows

_PART_LINES = 256
_PART_BYTES = 64 * 1024


class GrepPart(NamedTuple):
    """Matching lines of a file, or a part of them.

    Attributes:
        matches: lines that match.
    """

    path: str
    lines: list[Line]
    matches: int


class Full(Exception):  # noqa: N818 - no error: the answer has all it may have
    """The answer has reached its largest size."""


class Grep:
    """Searches files for one Grep.

    Attributes:
        searched, files_matched: files so far.
        matches: lines that matched so far.
        truncated: a bound was reached.

    Args:
        put: takes what was found; may be called where a step is given up, so it must not block.
    """

    def __init__(
        self, order: GrepRequest, expression: Expression, cpu_limit: CpuLimit, put: Callable[[GrepPart], None]
    ) -> None:
        self.searched = self.files_matched = self.matches = self.bytes_searched = 0
        self.truncated = False
        self._order = order
        self._expression = expression
        self._cpu_limit = cpu_limit
        self._put = put
        self._bytes_left = order.max_bytes

    def search(self, match: Match, breathe: Callable[[], None]) -> SkipReason | OSError | None:
        """Search a file; return why it was not.

        Between steps `breathe` is called; it may block.

        Raises:
            Full: the answer has all it may have.
        """
        try:
            opened = match.open()
            if opened is None:
                return None
            fd, st = opened
            try:
                self._search(match.path, self._windows(fd, st), st.st_size, breathe)
            finally:
                os.close(fd)
        except OSError as exc:
            return exc
        except BinaryError:
            return SkipReason.BINARY
        except TooLargeError:
            return SkipReason.TOO_LARGE
        except TooSlowError:
            return SkipReason.TOO_SLOW
        return None

    def _windows(self, fd: int, st: os.stat_result) -> Iterator[Window]:
        binary = self._order.binary
        if self._expression.multiline:
            return iter((whole(fd, st, binary=binary, crlf=not self._expression.names_return),))
        return windows(fd, st, context=self._order.before, binary=binary, needle=self._expression.needle)

    def _search(self, path: str, windows: Iterator[Window], size: int, breathe: Callable[[], None]) -> None:
        file = _FileMatches(path, self._order, self._put, self._bytes_left, self._order.max_matches - self.matches)
        read_bytes = 0
        try:
            for window in windows:
                self.bytes_searched += window.size
                if window.text:
                    with self._cpu_limit.step(window.size):
                        self._search_window(file, window)
                    if size != (read_bytes := read_bytes + window.size) and not file.finished:
                        file.flush()  # the rest of the file may be large, or take long
                    breathe()
                if file.finished:
                    break
            self.searched += 1
        except Full:
            self.searched += 1
            self.truncated = True
            raise
        finally:
            self._count(file)
        count = self.matches if self._order.output is GrepOutput.LINES else self.files_matched
        if count >= self._order.max_matches:
            self.truncated = True
            raise Full

    def _count(self, file: _FileMatches) -> None:
        self._bytes_left = file.bytes_left
        self.matches += file.matches
        self.files_matched += file.matches > 0
        file.flush(last=True)

    def _search_window(self, file: _FileMatches, window: Window) -> None:
        matches = self._expression.lines(window.text, window.begin)
        if self._order.output is GrepOutput.LINES:
            file.add(window, matches)
            return
        bound = 1 if self._order.output is GrepOutput.FILES else self._order.max_per_file
        for _ in matches:
            file.matches += 1
            if file.matches == bound:
                file.finished = True
                break


class _FileMatches:
    """Matching lines of one file so far.

    Attributes:
        matches: lines that match.
        finished: the rest of the file does not matter.
        bytes_left: until the answer is full.
    """

    def __init__(
        self, path: str, order: GrepRequest, put: Callable[[GrepPart], None], bytes_left: int, matches_left: int
    ) -> None:
        self.matches = 0
        self.finished = False
        self.bytes_left = bytes_left
        self._path = path
        self._order = order
        self._put = put
        self._lines: list[Line] = []
        self._size = 0
        self._matches_left = min(matches_left, order.max_per_file or matches_left)
        self._after_left = 0
        self._next_number = 1  # of the first line that was not sent

    def add(self, window: Window, matches: Iterator[tuple[int, int, list[Span]]]) -> None:
        """Take the lines of a window that match, and their context.

        Raises:
            Full: the answer has all it may have.
        """
        text, place = window.text, LinePlace(window)
        lower = _line_start(text, self._next_number - window.number)
        for first, last, spans in matches if self.matches < self._matches_left else ():
            lower = self._context_after(place, lower, first)
            for begin in _lines_before(text, first, lower, self._order.before):
                self._take(place, begin, line_around(text, begin)[1], ())
            self._take(place, first, last, spans)
            self.matches += 1
            lower = text.find("\n", last) + 1 or len(text)
            self._after_left = self._order.after
            if self.matches == self._matches_left:
                break
        # Behind the last line there may be, what matches too is context.
        lower = self._context_after(place, lower, len(text))
        place.move(lower)
        self._next_number = place.number
        self.finished = self.matches == self._matches_left and not self._after_left

    def _context_after(self, place: LinePlace, position: int, until: int) -> int:
        """Take lines behind a match, up to another one; return where the first line begins that was not taken."""
        while self._after_left and position < until:
            first, last, behind = line_around(place.text, position)
            self._take(place, first, last, ())
            self._after_left -= 1
            position = min(behind, len(place.text))
        return position

    def _take(self, place: LinePlace, begin: int, end: int, spans: list[Span] | tuple[()]) -> None:
        place.move(begin)
        line = line_at(place, end, spans, self._order.max_line_bytes)
        if len(line.text) > self.bytes_left:
            raise Full
        self.bytes_left -= len(line.text)
        self._lines.append(line)
        self._size += len(line.text)
        if len(self._lines) >= _PART_LINES or self._size >= _PART_BYTES:
            self.flush()

    def flush(self, *, last: bool = False) -> None:
        """Send what there is."""
        lines, self._lines, self._size = self._lines, [], 0
        matches = sum(1 for line in lines if line.spans) if self._order.output is GrepOutput.LINES else self.matches
        if lines or (last and matches):
            self._put(GrepPart(self._path, lines, matches))


def _line_start(text: str, number: int) -> int:
    """Return where a line begins, counted from 0; at most the end."""
    position = 0
    for _ in range(number):
        position = text.find("\n", position) + 1
        if not position:
            return len(text)
    return position


def _lines_before(text: str, first: int, lower: int, count: int) -> list[int]:
    """Return where the lines before one begin, at most so many and none before `lower`."""
    starts: list[int] = []
    while first > lower and len(starts) < count:
        first = text.rfind("\n", 0, first - 1) + 1
        starts.append(first)
    return starts[::-1]
