"""The process that searches. It answers one request after the other, and ends when its server does.

What is searched, and for what, comes from others: an expression can take forever, or all memory there is. Here it keeps
nobody waiting and can be killed.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from types import TracebackType
from typing import Any

from envd.errors import Code, EnvdError
from envd.filesystem.access import acting_as
from envd.filesystem.search import frames
from envd.filesystem.search.cpu_limit import CpuLimit, TooSlowError
from envd.filesystem.search.expression import compile_pattern
from envd.filesystem.search.finding import Finder
from envd.filesystem.search.grepping import Full, Grep, GrepPart
from envd.filesystem.search.outbox import BATCH_BYTES, Outbox
from envd.filesystem.search.replace_planner import plans
from envd.filesystem.search.requests import AnyOrder, FindRequest, GrepRequest, Type
from envd.filesystem.search.summaries import REPORTED, FindSummary, GrepSummary, Skip, SkipReason
from envd.host.names import NameCache
from envd.services.filesystem.encoding import EntryEncoder

from .encoding import find_response, grep_response

_NICE = 5
_OOM_SCORE = "500"  # rather than the server
_MEMORY_BYTES = 2 * 1024 * 1024 * 1024
_WORN_BYTES = 192 * 1024 * 1024  # a worker that has kept more is not used again
_ENTRY_BYTES = 300
_COMPILE_BYTES = 1024 * 1024

_GONE = (FileNotFoundError, NotADirectoryError)


def main() -> None:
    """Do what is ordered on standard input, until that ends."""
    os.nice(_NICE)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write(_OOM_SCORE)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    cpu_limit = CpuLimit(os.getppid())
    sys.excepthook = _report
    cpu_limit.watch()
    while (head := _read(frames.LENGTH.size)) is not None:
        order = _read(frames.LENGTH.unpack(head)[0])
        if order is None:
            break
        _answer(pickle.loads(order), cpu_limit)
        _write(frames.frame(frames.DONE, frames.packed(_resident_bytes() <= _WORN_BYTES)))


def _resident_bytes() -> int:
    """Return the memory in use; 0 where /proc is not there. Not getrusage's peak: that begins with the parent's."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _report(_: type[BaseException], failure: BaseException, __: TracebackType | None) -> None:
    """Tell the server of a fault of ours."""
    _write(frames.frame(frames.BROKEN, "".join(traceback.format_exception(failure)).encode(errors="replace")))


def _answer(order: AnyOrder, cpu_limit: CpuLimit) -> None:
    try:
        with acting_as(order.selection.user):
            _search(order, cpu_limit)
    except EnvdError as exc:
        _fail(exc.code, exc.message)
    except MemoryError:
        _fail(Code.RESOURCE_EXHAUSTED, f"search: more than {_MEMORY_BYTES >> 20} MiB of memory would be needed")
    except TooSlowError:
        _fail(Code.INVALID_ARGUMENT, "pattern: takes too long to compile; make it simpler")


def _search(order: AnyOrder, cpu_limit: CpuLimit) -> None:
    if isinstance(order, FindRequest):
        _find(order, cpu_limit)
    elif isinstance(order, GrepRequest):
        _grep(order, cpu_limit)
    else:
        for value in plans(order, cpu_limit):
            _write(frames.frame(frames.VALUE, frames.packed(value)))


def _fail(code: Code, message: str) -> None:
    _write(frames.frame(frames.FAILED, frames.packed((code.value, message))))


class _Skips:
    """Files that were not searched; the first thousand are named."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: deque[Skip] = deque()  # the outbox's thread takes them, too

    def add(self, path: str, reason: SkipReason, errno: int = 0) -> None:
        """Count a skipped file, and name it if it is one of the first."""
        if self.count < REPORTED:
            self._waiting.append(Skip(path, reason, errno))
        self.count += 1

    def unreadable(self, path: str, errno: int) -> None:
        """Count a directory that cannot be read."""
        self.add(path, SkipReason.UNREADABLE, errno)

    def take(self) -> list[Skip]:
        """Return those that were not sent yet."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


def _find(order: FindRequest, cpu_limit: CpuLimit) -> None:
    skips = _Skips()
    finder = Finder(order.selection, cpu_limit, skips.unreadable)
    names = NameCache()
    names.refresh()
    encoder = EntryEncoder(names, brief=order.brief)
    count, truncated = 0, False

    def send(entries: list[bytes], summary: FindSummary | None = None) -> None:
        _write(frames.frame(frames.MESSAGE, find_response(entries, skips.take(), summary, in_json=order.in_json)))

    with Outbox(send) as outbox, closing(finder.matches()) as selected:
        for match in selected:
            if order.limit and count == order.limit:
                truncated = True
                break
            try:
                entry = match.describe(with_metadata=order.with_metadata)
            except OSError:
                continue  # gone meanwhile
            data = encoder.json(entry).encode() if order.in_json else encoder.proto(entry)
            outbox.put(data, len(data))
            count += 1
            outbox.breathe()
    send(outbox.take(), FindSummary(count, finder.examined, skips.count, truncated or finder.truncated))


class _GrepResponse:
    """Sends a Grep's answer."""

    def __init__(self, *, in_json: bool) -> None:
        self.skips = _Skips()
        self.outbox = Outbox(self._send)
        self._in_json = in_json

    def put(self, part: GrepPart) -> None:
        """Take what was found."""
        self.outbox.put(part, len(part.path) + sum(len(line.text) + _ENTRY_BYTES for line in part.lines))

    def end(self, summary: GrepSummary) -> None:
        """Send what is left."""
        self._send(self.outbox.take(), summary)

    def _send(self, parts: list[GrepPart], summary: GrepSummary | None = None) -> None:
        *most, last = _portions(parts)
        for portion in most:
            _write(frames.frame(frames.MESSAGE, grep_response(portion, [], None, in_json=self._in_json)))
        message = grep_response(last, self.skips.take(), summary, in_json=self._in_json)
        _write(frames.frame(frames.MESSAGE, message))


def _portions(parts: list[GrepPart]) -> Iterator[list[GrepPart]]:
    """Cut what was found into messages of reasonable size; the last one may be empty."""
    portion: list[GrepPart] = []
    size = 0
    for part in parts:
        if size >= BATCH_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(part)
        size += len(part.path) + sum(len(line.text) for line in part.lines)
    yield portion


def _grep(order: GrepRequest, cpu_limit: CpuLimit) -> None:
    with cpu_limit.step(_COMPILE_BYTES):
        expression = compile_pattern(order.pattern)
    answer = _GrepResponse(in_json=order.in_json)
    grep = Grep(order, expression, cpu_limit, answer.put)
    finder = Finder(order.selection, cpu_limit, answer.skips.unreadable)
    with answer.outbox as outbox, suppress(Full), closing(finder.matches()) as selected:
        for match in selected:
            if match.type is Type.FILE:
                _note(match.path, grep.search(match, outbox.breathe), answer.skips)
                outbox.breathe()
    answer.end(
        GrepSummary(
            grep.searched, grep.files_matched, answer.skips.count, grep.matches, grep.bytes_searched, grep.truncated
        )
    )


def _note(path: str, failure: SkipReason | OSError | None, skips: _Skips) -> None:
    if isinstance(failure, SkipReason):
        skips.add(path, failure)
    elif isinstance(failure, OSError) and not isinstance(failure, _GONE):
        skips.add(path, SkipReason.UNREADABLE, failure.errno or 0)


def _read(size: int) -> bytes | None:
    """Return so many bytes of standard input; None at its end."""
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            return None
        data += piece
    return data


def _write(data: Any) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        os._exit(0)  # nobody waits for it any more
