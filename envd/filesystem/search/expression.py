"""Compiles patterns, and finds the lines they match in the quickest correct way."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from envd.errors import Code, EnvdError

from .requests import Case, Pattern

SUBMATCHES = 1000
"""Matches in one line that are looked for; more are not told."""

_GLOBAL_FLAGS = re.compile(r"\(\?([aiLmsux]+)\)")
_SHOWN = 200
_GOOD_LITERAL = 3  # shorter ones are in nearly every line

Span = tuple[int, int]
LineMatch = tuple[int, int, list[Span]]
"""A line that matches: begin and end (without its end of line), and its matches, counted from its beginning."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled pattern.

    Attributes:
        line: for one line without its end, or with `multiline` for a whole text.
        multiline: it can match across lines.
        names_return: it speaks of carriage returns itself.
        literal: characters every match contains; empty if none are known. If case is the same, they are lower case and
            hold for text in ASCII only.
        anywhere: it can be looked for in many lines at once: no match contains an end of line, or depends on what is
            beyond one.
    """

    line: re.Pattern[str]
    multiline: bool
    names_return: bool
    literal: str
    anywhere: re.Pattern[str] | None

    @property
    def folds(self) -> bool:
        """True if upper and lower case are the same."""
        return bool(self.line.flags & re.IGNORECASE)

    @property
    def needle(self) -> bytes:
        """Bytes that are in every file in UTF-8 that matches; empty if none are known."""
        return b"" if self.folds else self.literal.encode("utf-8", "surrogateescape")

    def lines(self, text: str, begin: int) -> Iterator[LineMatch]:
        """Yield the lines that match, of those that begin at an offset or behind it."""
        if self.multiline:
            return self._across(text)
        anywhere = self.anywhere if "\r" not in text else None
        usable = self.literal and (not self.folds or text.isascii())
        if usable and (anywhere is None or len(self.literal) >= _GOOD_LITERAL):
            return self._where_literal_is(text, begin)
        if anywhere is not None:
            return self._where_any(text, begin, anywhere)
        return self._each(text, begin)

    def matches(self, text: str) -> Iterator[tuple[int, re.Match[str]]]:
        """Yield each match, and where the line or text it was found in begins."""
        if self.multiline:
            yield from ((0, match) for match in self.line.finditer(text))
            return
        for first, last, _ in self.lines(text, 0):
            yield from ((first, match) for match in self.line.finditer(text[first:last]))

    def spans(self, line: str) -> list[Span]:
        """Return where a line matches."""
        return [match.span() for match in islice(self.line.finditer(line), SUBMATCHES)]

    def _each(self, text: str, begin: int) -> Iterator[LineMatch]:
        search = self.line.search
        size = len(text)
        for line in (text[begin:] if begin else text).split("\n"):
            end = begin + len(line)
            shown = line[:-1] if end < size and line.endswith("\r") else line
            if begin < size and search(shown):
                yield begin, begin + len(shown), self.spans(shown)
            begin = end + 1

    def _where_literal_is(self, text: str, begin: int) -> Iterator[LineMatch]:
        looked_at = text.lower() if self.folds else text
        position = looked_at.find(self.literal, begin)
        while position >= 0:
            first, last, behind = line_around(text, position)
            spans = self.spans(text[first:last])
            if spans:
                yield first, last, spans
            position = looked_at.find(self.literal, behind)

    def _where_any(self, text: str, begin: int, anywhere: re.Pattern[str]) -> Iterator[LineMatch]:
        size = len(text)
        while begin < size and (match := anywhere.search(text, begin)):
            first, last, begin = line_around(text, match.start())
            spans = self.spans(text[first:last]) if first < size else None
            if spans:
                yield first, last, spans

    def _across(self, text: str) -> Iterator[LineMatch]:
        """Yield runs of lines that matches touch; those that share a line are one run."""
        first = last = -1
        spans: list[Span] = []
        for match in self.line.finditer(text):
            begin, end = match.span()
            if begin == len(text) and begin > 0 and text[begin - 1] == "\n":
                break  # behind the last line there is none
            if begin > last or first < 0:
                if spans:
                    yield first, last, spans
                first = text.rfind("\n", 0, begin) + 1
                spans = []
            # A match that ends with the end of a line does not touch the next one.
            last = _end_of_line(text, end - 1 if end > begin and text[end - 1] == "\n" else end)
            if len(spans) < SUBMATCHES:
                spans.append((begin - first, end - first))
        if spans:
            yield first, last, spans


def line_around(text: str, position: int) -> tuple[int, int, int]:
    """Return where a line begins, where it ends without its end of line, and where the next one begins."""
    first = text.rfind("\n", 0, position) + 1
    last = _end_of_line(text, position)
    behind = last + 1
    if last < len(text) and last > first and text[last - 1] == "\r":
        last -= 1
    return first, last, behind


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def compile_pattern(pattern: Pattern) -> Expression:
    """Compile a pattern.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none; the message says where.
    """
    multiline = pattern.multiline or (pattern.fixed and "\n" in pattern.text)
    flags = re.IGNORECASE if _ignores_case(pattern) else re.NOFLAG
    if multiline:
        flags |= re.MULTILINE
    text = re.escape(pattern.text) if pattern.fixed else pattern.text
    compiled = _compiled(text, flags, pattern.text)
    if pattern.word:
        compiled = _compiled(_as_word(text, compiled.flags), flags, pattern.text)
    literal, anywhere = "", None
    if not multiline:
        literal, safe = _studied(compiled)
        if safe:
            anywhere = re.compile(compiled.pattern, compiled.flags | re.MULTILINE)
    names_return = "\r" in pattern.text or (not pattern.fixed and "\\r" in pattern.text)
    return Expression(compiled, multiline, names_return, literal, anywhere)


def _ignores_case(pattern: Pattern) -> bool:
    if pattern.case is Case.SMART:
        # In an expression \W and the like are no letters of the text.
        letters = pattern.text if pattern.fixed else re.sub(r"\\.", "", pattern.text, flags=re.DOTALL)
        return letters == letters.lower()
    return pattern.case is Case.INSENSITIVE


def _compiled(text: str, flags: int, shown: str) -> re.Pattern[str]:
    try:
        return re.compile(text, flags)
    except re.error as exc:
        where = "" if exc.pos is None else f" at position {exc.pos}"
        raise EnvdError(Code.INVALID_ARGUMENT, f"pattern {_short(shown)}: {exc.msg}{where}") from exc
    except ValueError as exc:  # flags that exclude each other
        raise EnvdError(Code.INVALID_ARGUMENT, f"pattern {_short(shown)}: {exc}") from exc
    except (RecursionError, OverflowError, MemoryError) as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, f"pattern {_short(shown)}: too large, or nested too deeply") from exc


def _short(text: str) -> str:
    return f'"{text}"' if len(text) <= _SHOWN else f'"{text[:_SHOWN]}"...'


def _as_word(text: str, flags: int) -> str:
    # Flags for the whole must stay at the beginning; in verbose mode a comment may run to the end of the line.
    flags_match = _GLOBAL_FLAGS.match(text)
    head = flags_match[0] if flags_match else ""
    end = "\n" if flags & re.VERBOSE else ""
    return rf"{head}(?<!\w)(?:{text[len(head) :]}{end})(?!\w)"


def _studied(compiled: re.Pattern[str]) -> tuple[str, bool]:
    """Return characters that every match contains, and whether the expression can be looked for in many lines at once.

    The standard library's own parser says what is in an expression. It is no public module: whatever is not as it was
    in Python 3.11 to 3.14 only means that each line is looked at by itself.
    """
    try:
        parser: Any = importlib.import_module("re._parser")
        tree = parser.parse(compiled.pattern, compiled.flags)
        items = list(tree)
        literal = _longest_literal(items)
        if compiled.flags & re.IGNORECASE:
            # The long s, for one, is an s then, and lower case may be longer: only ASCII is the same for all.
            literal = literal.lower() if literal.isascii() else ""
        return literal, _safe(items, bool(compiled.flags & re.DOTALL))
    except (ImportError, AttributeError, TypeError, ValueError, KeyError, RecursionError):
        return "", False


def _longest_literal(items: list[Any]) -> str:
    best = run = ""
    for op, value in _flat(items):
        run = run + chr(value) if op == "LITERAL" else ""
        best = max(best, run, key=len)
    return best


def _flat(items: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a match goes through in any case, groups opened."""
    for code, value in items:
        op = str(code)
        if op == "SUBPATTERN" and not value[1] and not value[2]:
            yield from _flat(list(value[3]))
        else:
            yield op, value


_BOUNDARIES = ("AT_BEGINNING", "AT_END", "AT_BOUNDARY")
_SETS = ("CATEGORY_DIGIT", "CATEGORY_WORD", "CATEGORY_NOT_SPACE")
_NEWLINE = ord("\n")


def _safe(items: list[Any], dotall: bool) -> bool:  # noqa: FBT001 - a flag of the expression
    return all(_is_safe(str(op), value, dotall) for op, value in items)


def _is_safe(op: str, value: Any, dotall: bool) -> bool:  # noqa: FBT001 - a flag of the expression
    if op in ("LITERAL", "ANY", "AT", "IN"):
        return _is_safe_item(op, value, dotall)
    if op == "BRANCH":
        return all(_safe(list(branch), dotall) for branch in value[1])
    if op == "SUBPATTERN":
        return not value[1] and not value[2] and _safe(list(value[3]), dotall)
    return op in ("MAX_REPEAT", "MIN_REPEAT") and _safe(list(value[2]), dotall)


def _is_safe_item(op: str, value: Any, dotall: bool) -> bool:  # noqa: FBT001 - a flag of the expression
    if op == "LITERAL":
        return bool(value != _NEWLINE)
    if op == "ANY":
        return not dotall
    if op == "AT":
        return str(value) in _BOUNDARIES
    return all(_is_safe_in_set(str(kind), item) for kind, item in value)


def _is_safe_in_set(kind: str, item: Any) -> bool:
    if kind == "LITERAL":
        return bool(item != _NEWLINE)
    if kind == "RANGE":
        return not item[0] <= _NEWLINE <= item[1]
    return kind == "CATEGORY" and str(item) in _SETS
