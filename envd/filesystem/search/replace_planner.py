"""Computes the changes of a Replace, file by file. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

from envd.errors import Code, EnvdError
from envd.filesystem.entries import etag_of

from .cpu_limit import CpuLimit, TooSlowError
from .diffs import Change, unified
from .expression import Expression, compile_pattern
from .finding import Finder
from .match import Match
from .replace_plan import EDITS, FILE, SKIP, TOTALS, Edit, Value
from .requests import ReplaceRequest, Type
from .summaries import REPORTED, SkipReason
from .template import Replaced, compile_template
from .text import BinaryError, TooLargeError, Window, whole

_FILES = 10_000
_MATCHES = 100_000
_BYTES = 64 * 1024 * 1024
_COMPILE_BYTES = 1024 * 1024
_EDITS_AT_ONCE = 500  # the server unpacks them on its loop

_GONE = (FileNotFoundError, NotADirectoryError)


def plans(order: ReplaceRequest, cpu_limit: CpuLimit) -> Iterator[Value]:
    """Yield what ReplacePlans.add takes.

    Raises:
        EnvdError: INVALID_ARGUMENT if pattern or replacement is none, RESOURCE_EXHAUSTED if it is too much.
    """
    with cpu_limit.step(_COMPILE_BYTES):
        expression = compile_pattern(order.pattern)
        fixed = order.replacement
        replaced = (lambda _: fixed) if order.pattern.fixed else compile_template(fixed, expression.line)
    planner = _Planner(order, expression, replaced, cpu_limit)
    yield from planner.run()


class _Planner:
    def __init__(
        self,
        order: ReplaceRequest,
        expression: Expression,
        replaced: Replaced,
        cpu_limit: CpuLimit,
    ) -> None:
        self._order = order
        self._expression = expression
        self._replaced = replaced
        self._cpu_limit = cpu_limit
        self._skips: list[Value] = []
        self._searched = self._skipped = self._files = self._matches = self._bytes = 0
        self._diff_left = order.diff_bytes
        self._identities: set[tuple[int, int]] = set()

    def run(self) -> Iterator[Value]:
        """Go through all files."""
        with closing(Finder(self._order.selection, self._cpu_limit, self._unreadable).matches()) as selected:
            for match in selected:
                if match.type is Type.FILE:
                    yield from self._plan(match)
                yield from self._take_skips()
        yield from self._take_skips()
        yield (TOTALS, self._searched, self._skipped)

    def _unreadable(self, path: str, errno: int) -> None:
        self._skip(path, SkipReason.UNREADABLE, errno)

    def _skip(self, path: str, reason: SkipReason, errno: int = 0) -> None:
        if self._skipped < REPORTED:
            self._skips.append((SKIP, path, int(reason), errno))
        self._skipped += 1

    def _take_skips(self) -> list[Value]:
        skips, self._skips = self._skips, []
        return skips

    def _plan(self, match: Match) -> list[Value]:
        try:
            return self._plan_of(match)
        except _GONE:
            pass
        except OSError as exc:
            self._skip(match.path, SkipReason.UNREADABLE, exc.errno or 0)
        except BinaryError:
            self._skip(match.path, SkipReason.BINARY)
        except TooLargeError:
            self._skip(match.path, SkipReason.TOO_LARGE)
        except TooSlowError:
            self._skip(match.path, SkipReason.TOO_SLOW)
        return []

    def _plan_of(self, match: Match) -> list[Value]:
        opened = match.open()
        if opened is None:
            return []
        fd, st = opened
        try:
            if self._is_known(st):
                return []
            window = whole(fd, st, binary=False, crlf=not self._expression.names_return)
            etag = etag_of(os.fstat(fd))
        finally:
            os.close(fd)
        self._searched += 1
        if etag != etag_of(st):
            self._skip(match.path, SkipReason.CHANGED)
            return []
        with self._cpu_limit.step(window.size):
            changes, count = self._changes(window)
        return self._planned(match.path, etag, window, changes, count) if count else []

    def _is_known(self, st: os.stat_result) -> bool:
        """Tell whether the file was looked into under another of its names."""
        if st.st_nlink == 1 and not self._order.selection.follow_links:
            return False
        identity = (st.st_dev, st.st_ino)
        is_known = identity in self._identities
        self._identities.add(identity)
        return is_known

    def _changes(self, window: Window) -> tuple[list[Change], int]:
        text, crlf = window.text, window.encoding.crlf
        changes: list[Change] = []
        count = size = 0
        for base, match in self._expression.matches(text):
            new = self._replaced(match)
            if crlf:
                new = new.replace("\r\n", "\n")
            begin, end = match.span()
            count += 1
            if new != match[0]:
                changes.append((base + begin, base + end, new))
                size += len(new)
            if self._matches + count > _MATCHES or self._bytes + size > _BYTES:
                raise _too_much(f"more than {_MATCHES} matches or {_BYTES >> 20} MiB of new text")
        self._matches += count
        self._bytes += size
        return changes, count

    def _planned(self, path: str, etag: str, window: Window, changes: list[Change], count: int) -> list[Value]:
        self._files += 1
        if self._files > _FILES:
            raise _too_much(f"more than {_FILES} files with a match")
        diff, truncated = b"", False
        if self._order.diff_bytes and changes:
            diff, truncated = unified(path, window.text, changes, window.encoding, self._diff_left)
            self._diff_left -= len(diff)
        edits = list(_edits(window, changes))
        runs: list[Value] = [
            (EDITS, edits[index : index + _EDITS_AT_ONCE]) for index in range(0, len(edits), _EDITS_AT_ONCE)
        ]
        return [*runs, (FILE, path, etag, count, diff, truncated)]


def _too_much(reason: str) -> EnvdError:
    return EnvdError(Code.RESOURCE_EXHAUSTED, f"replace: {reason}: nothing was changed; choose fewer files")


def _edits(window: Window, changes: list[Change]) -> Iterator[Edit]:
    text, encoding = window.text, window.encoding
    position, offset = 0, window.offset
    for begin, end, new in changes:
        offset += encoding.size(text[position:begin])
        size = encoding.size(text[begin:end])
        yield offset, size, encoding.stored(new)
        position, offset = end, offset + size
