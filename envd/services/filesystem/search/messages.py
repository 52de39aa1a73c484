"""Converts the contract's messages to the types of searching and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from envd.errors import Code, EnvdError, readable
from envd.filesystem.caller import Caller
from envd.filesystem.lossy_names import raw_of
from envd.filesystem.search.lines import Lines, Range
from envd.filesystem.search.replace_apply import Outcome
from envd.filesystem.search.replace_plan import ReplacePlans
from envd.filesystem.search.requests import (
    Case,
    FindRequest,
    GrepOutput,
    GrepRequest,
    Pattern,
    ReplaceRequest,
    Selection,
    SortBy,
    Type,
)
from envd.services.filesystem.encoding import EncodedMessage
from envd.services.filesystem.messages import EntryFormat, converted
from envd_proto.filesystem import search_pb2 as search

T = TypeVar("T")

_GLOBS = 1000
_GLOB_BYTES = 4096
_PATTERN_BYTES = 65536
_REPLACEMENT_BYTES = 1024 * 1024
_CONTEXT_LINES = 1000
_NANOS = 1_000_000_000
_AT_ONCE = 128  # files of an answer that are encoded without a breath
_BREATH_S = 50e-6

KIB = 1024
MIB = 1024 * KIB


def find_order(request: search.FindRequest, path: str, caller: Caller, entry_format: EntryFormat) -> FindRequest:
    """Return what to find.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be found.
    """
    return FindRequest(
        _selection(request.selection, path, caller),
        request.limit,
        with_metadata=request.with_metadata,
        brief=entry_format.brief,
        in_json=entry_format.in_json,
    )


def grep_order(request: search.GrepRequest, path: str, caller: Caller, entry_format: EntryFormat) -> GrepRequest:
    """Return what to look for.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be looked for.
    """
    return GrepRequest(
        _selection(request.selection, path, caller),
        _pattern(request.pattern),
        _named(GrepOutput, request.output, "output"),
        before=_bound("before", request.before, 0, _CONTEXT_LINES),
        after=_bound("after", request.after, 0, _CONTEXT_LINES),
        max_per_file=request.max_per_file,
        max_matches=_bound("max_matches", request.max_matches, 10_000, 1_000_000),
        max_bytes=_bound("max_bytes", request.max_bytes, MIB, 64 * MIB),
        max_line_bytes=_bound("max_line_bytes", request.max_line_bytes, 2000, MIB),
        binary=request.binary,
        in_json=entry_format.in_json,
    )


def replace_order(request: search.ReplaceRequest, path: str, caller: Caller) -> ReplaceRequest:
    """Return what to replace.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be replaced.
    """
    pattern = _pattern(request.pattern)
    if pattern.fixed and not pattern.text:
        raise EnvdError(Code.INVALID_ARGUMENT, "pattern: there is nothing to replace in an empty string")
    if len(request.replacement.encode()) > _REPLACEMENT_BYTES:
        raise EnvdError(Code.INVALID_ARGUMENT, f"replacement: more than {_REPLACEMENT_BYTES} bytes")
    limit = _bound("max_diff_bytes", request.max_diff_bytes, 256 * KIB, 2 * MIB)
    diff_bytes = limit if request.diff or request.dry_run else 0
    return ReplaceRequest(_selection(request.selection, path, caller), pattern, request.replacement, diff_bytes)


def _selection(message: search.Selection, path: str, caller: Caller) -> Selection:
    globs = [*message.include, *message.exclude]
    if len(globs) > _GLOBS or any(len(glob.encode()) > _GLOB_BYTES for glob in globs):
        raise EnvdError(Code.INVALID_ARGUMENT, f"at most {_GLOBS} globs of at most {_GLOB_BYTES} bytes each")
    return Selection(
        path,
        caller.user,
        tuple(message.include),
        tuple(message.exclude),
        gitignore=message.gitignore,
        skip_hidden=message.skip_hidden,
        max_depth=message.max_depth,
        follow_links=message.follow_links,
        one_file_system=message.one_file_system,
        types=frozenset(_named(Type, number, "types") for number in message.types),
        min_size=message.min_size if message.HasField("min_size") else None,
        max_size=message.max_size if message.HasField("max_size") else None,
        since_ns=_time(message.modified_since) if message.HasField("modified_since") else None,
        before_ns=_time(message.modified_before) if message.HasField("modified_before") else None,
        order=_named(SortBy, message.order, "order"),
    )


def _pattern(message: search.Pattern) -> Pattern:
    if len(message.text.encode()) > _PATTERN_BYTES:
        raise EnvdError(Code.INVALID_ARGUMENT, f"pattern: more than {_PATTERN_BYTES} bytes")
    case = _named(Case, message.case, "case")
    return Pattern(message.text, message.fixed, case, message.word, message.multiline)


def _named(kind: Callable[[int], T], number: int, field: str) -> T:
    try:
        return kind(number)
    except ValueError as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{field}: {number} is none of its values") from exc


def _bound(field: str, value: int, default: int, most: int) -> int:
    if value > most:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{field}: at most {most}, not {value}")
    return value or default


def _time(message: Timestamp) -> int:
    return message.seconds * _NANOS + message.nanos


def range_from(request: search.ReadLinesRequest) -> Range:
    """Return which lines to read.

    Raises:
        EnvdError: INVALID_ARGUMENT if that makes no sense.
    """
    has_offset = request.HasField("offset")
    if has_offset and request.first < 1:
        raise EnvdError(
            Code.INVALID_ARGUMENT, "offset needs a positive first, the number of the line that begins there"
        )
    return Range(
        request.first,
        request.last,
        _bound("max_bytes", request.max_bytes, 256 * KIB, MIB),
        request.offset if has_offset else None,
        request.count,
    )


def lines_response(lines: Lines) -> search.ReadLinesResponse:
    """Return lines as a message."""
    text, raw = _text(lines.data)
    return search.ReadLinesResponse(
        text=text,
        raw=raw,
        first_line=lines.first_line,
        lines=lines.lines,
        offset=lines.offset,
        next_offset=lines.offset + len(lines.data),
        next_line=lines.next_line,
        cut=lines.cut,
        more=lines.more,
        total_lines=lines.total,
        ends_with_newline=lines.ends_with_newline,
        size=lines.size,
        etag=lines.etag,
    )


def replace_response(plans: ReplacePlans, outcomes: list[Outcome], *, dry_run: bool) -> search.ReplaceResponse:
    """Return what was replaced as a message. Blocks: it takes a breath now and then."""
    response = search.ReplaceResponse(matches=plans.matches, files_searched=plans.searched, files_skipped=plans.skipped)
    for count, outcome in enumerate(outcomes):
        plan = outcome.plan
        diff, raw = _text(plan.diff)
        response.files.add(
            path=readable(plan.path),
            raw_path=raw_of(plan.path),
            matches=plan.matches,
            etag=outcome.etag,
            diff=diff,
            raw_diff=raw,
            diff_truncated=plan.diff_truncated,
            error=outcome.error,
        )
        response.files_changed += outcome.changed or (dry_run and bool(plan.edits))
        if count % _AT_ONCE == 0:
            time.sleep(_BREATH_S)
    for skip in plans.skips:
        response.skipped.add(
            path=readable(skip.path), raw_path=raw_of(skip.path), reason=int(skip.reason), errno=skip.errno
        )
    return response


def encoded(payload: bytes, kind: type[Message], *, in_json: bool) -> EncodedMessage:
    """Return a message that a worker has encoded."""
    return EncodedMessage(payload, in_json=in_json, again=lambda: converted(payload, kind, in_json=in_json))


def _text(data: bytes) -> tuple[str, bytes | None]:
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return data.decode(errors="replace"), data
