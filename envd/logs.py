"""Log lines: one JSON object each, on stderr. Never environment values, input, output, tokens or arguments."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import select
import time
from contextvars import ContextVar

request_context: ContextVar[dict[str, str] | None] = ContextVar("request_context", default=None)
"""Fields every line of one request carries; set by the transport."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """Constant message, values from `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": f"{_date_and_time(int(record.created))}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(request_context.get() or {}),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _OWN)
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str)
        return _readable(line) if "\\ud" in text else text


def _readable(line: dict[str, object]) -> str:
    """Return a line with U+FFFD for what is not UTF-8 in names: strict readers of JSON take no half of a pair."""
    text = json.dumps(line, default=str, ensure_ascii=False)
    return text.encode(errors="surrogateescape").decode(errors="replace")


@functools.lru_cache(maxsize=1)
def _date_and_time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class _Bounded(logging.Filter):
    """Bounds the warnings of one kind, at once and per second; the next one tells how many were dropped.

    A client that can cause a warning can cause it without end. Bounded by the messages there are: they are constants.
    """

    _AT_ONCE = 50.0
    _PER_S = 5.0
    _KINDS = 1000  # the libraries' messages need not be constants: then all begin anew

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, object], tuple[float, float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.msg)
        allowance, since, suppressed = self._kinds.get(kind, (self._AT_ONCE, record.created, 0))
        allowance = min(allowance + max(record.created - since, 0) * self._PER_S, self._AT_ONCE)
        if allowance < 1:
            self._kinds[kind] = (allowance, record.created, suppressed + 1)
            return False
        if suppressed:
            record.suppressed = suppressed
        if len(self._kinds) >= self._KINDS:
            self._kinds.clear()
        self._kinds[kind] = (allowance - 1, record.created, 0)
        return True


class _Stderr(logging.Handler):
    """Writes lines to stderr, but never waits for the reader: what does not fit is dropped, and counted."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.poll()
        self._poll.register(2, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._dropped:
            record.dropped = self._dropped
        unwritten = self.format(record).encode() + b"\n"
        self._dropped += 1
        with contextlib.suppress(OSError):
            while unwritten and self._ready():
                unwritten = unwritten[os.write(2, unwritten[: select.PIPE_BUF]) :]
        if not unwritten:
            self._dropped = 0

    def _ready(self) -> bool:
        """Tell whether PIPE_BUF bytes fit; a write of no more than that does not block then. pipe(7)."""
        return any(events & select.POLLOUT for _, events in self._poll.poll(0))


def configure(level: str) -> None:
    """Send lines of `level` (debug, info, warning or error) and above to stderr."""
    handler = _Stderr()
    handler.setFormatter(JsonLines())
    handler.addFilter(_Bounded())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
