"""Requests and results of finding and replacing. No network in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from envd_proto.filesystem import search_pb2 as pb
from envd_sdk.messages import raw_path
from envd_sdk.paths import SandboxPath, path_fields

EntryKind = Literal["file", "dir", "symlink", "other"]
Order = Literal["name", "none", "modified", "size"]
Case = Literal["sensitive", "insensitive", "smart"]

_KINDS: Mapping[EntryKind, pb.SearchType] = {
    "file": pb.SEARCH_TYPE_FILE,
    "dir": pb.SEARCH_TYPE_DIRECTORY,
    "symlink": pb.SEARCH_TYPE_SYMLINK,
    "other": pb.SEARCH_TYPE_OTHER,
}
_ORDERS: Mapping[Order, pb.SearchOrder] = {
    "name": pb.SEARCH_ORDER_UNSPECIFIED,
    "none": pb.SEARCH_ORDER_NONE,
    "modified": pb.SEARCH_ORDER_MODIFIED,
    "size": pb.SEARCH_ORDER_SIZE,
}
_CASES: Mapping[Case, pb.CaseMode] = {
    "sensitive": pb.CASE_MODE_UNSPECIFIED,
    "insensitive": pb.CASE_MODE_INSENSITIVE,
    "smart": pb.CASE_MODE_SMART,
}
_REASONS = {
    pb.SKIP_REASON_UNREADABLE: "unreadable",
    pb.SKIP_REASON_BINARY: "binary",
    pb.SKIP_REASON_TOO_LARGE: "too large",
    pb.SKIP_REASON_TOO_SLOW: "too slow",
    pb.SKIP_REASON_CHANGED: "changed",
}


class Selected(TypedDict, total=False):
    """A selection of entries below a path; an absent option restricts nothing.

    `include` and `exclude` are globs: `*.py` is compared with names at any depth, `src/**/*.py` with paths. `gitignore`
    leaves out what git would ignore. Sizes are in bytes. "modified" and "size" have the newest and the largest first.
    """

    include: Sequence[str]
    exclude: Sequence[str]
    gitignore: bool
    skip_hidden: bool
    max_depth: int
    follow_links: bool
    one_file_system: bool
    kinds: Sequence[EntryKind]
    min_size: int
    max_size: int
    modified_since: datetime
    modified_before: datetime
    order: Order


class Matched(TypedDict, total=False):
    """Options of comparing text: `fixed` takes it as it is, `word` only as a whole word, `multiline` across lines."""

    fixed: bool
    case: Case
    word: bool
    multiline: bool


@dataclass(frozen=True)
class Skipped:
    """Something that was not searched, and why: unreadable, binary, too large, too slow, changed.

    Attributes:
        raw_path: the bytes of the path if they are not UTF-8; else None.
    """

    path: str
    reason: str
    raw_path: bytes | None = None


@dataclass(frozen=True)
class GrepLine:
    """A line of a file that matches, or is context of a match.

    Attributes:
        number: from 1.
        text: without its end; U+FFFD stands for what is not UTF-8, and a long line is clipped.
        matches: begin and end of each match, in bytes of the whole line; none in a line of context.
    """

    number: int
    text: str
    matches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class GrepFile:
    """A file in which something was found.

    Attributes:
        lines: those that match, and their context.
        count: lines that match.
        raw_path: the bytes of the path if they are not UTF-8; else None.
    """

    path: str
    lines: tuple[GrepLine, ...]
    count: int
    raw_path: bytes | None = None


@dataclass(frozen=True)
class GrepResult:
    """The result of a Grep.

    Attributes:
        truncated: the search ended at its limits; there may be more.
        files_searched: files read.
        skipped: what was not searched, the first 1000.
    """

    files: tuple[GrepFile, ...]
    count: int
    truncated: bool
    files_searched: int
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class ReplacedFile:
    """A file in which text was, or would be, replaced.

    Attributes:
        count: matches.
        etag: of the new content; of the old one if nothing was changed.
        diff: the change, if it was asked for.
        error: why it was not changed; "" if it was.
        raw_path: the bytes of the path if they are not UTF-8; else None.
    """

    path: str
    count: int
    etag: str
    diff: str = ""
    error: str = ""
    raw_path: bytes | None = None


@dataclass(frozen=True)
class ReplaceResult:
    """The result of a Replace."""

    files: tuple[ReplacedFile, ...]
    count: int
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Lines:
    """A range of lines of a file.

    Attributes:
        text: with their ends.
        first: number of the first of them, from 1; 0 if it is not known.
        count: how many they are.
        more: there are more of those that were asked for.
        total: lines in the file; None if they were not counted.
        etag: of the file.
    """

    text: str
    first: int
    count: int
    more: bool
    total: int | None
    etag: str


def selection(path: SandboxPath, options: Selected) -> pb.Selection:
    message = pb.Selection(
        **path_fields(path),
        include=_globs(options.get("include", ())),
        exclude=_globs(options.get("exclude", ())),
        types=[_KINDS[kind] for kind in options.get("kinds", ())],
        order=_ORDERS[options.get("order", "name")],
        gitignore=options.get("gitignore", False),
        skip_hidden=options.get("skip_hidden", False),
        max_depth=options.get("max_depth", 0),
        follow_links=options.get("follow_links", False),
        one_file_system=options.get("one_file_system", False),
        min_size=options.get("min_size"),
        max_size=options.get("max_size"),
    )
    if "modified_since" in options:
        message.modified_since.FromDatetime(options["modified_since"])
    if "modified_before" in options:
        message.modified_before.FromDatetime(options["modified_before"])
    return message


def pattern(text: str, options: Matched) -> pb.Pattern:
    return pb.Pattern(
        text=text,
        fixed=options.get("fixed", False),
        case=_CASES[options.get("case", "sensitive")],
        word=options.get("word", False),
        multiline=options.get("multiline", False),
    )


def grep_result(messages: Sequence[pb.GrepResponse]) -> GrepResult:
    """Everything a stream had. Of a file that came in several parts, one."""
    parts: dict[tuple[str, bytes | None], list[pb.GrepFile]] = {}
    for message in messages:
        for file in message.files:
            parts.setdefault((file.path, raw_path(file)), []).append(file)
    summary = messages[-1].summary
    return GrepResult(
        files=tuple(_grep_file(file_parts) for file_parts in parts.values()),
        count=summary.matches,
        truncated=summary.truncated,
        files_searched=summary.files_searched,
        skipped=tuple(_skipped(skip) for message in messages for skip in message.skipped),
    )


def replace_result(message: pb.ReplaceResponse) -> ReplaceResult:
    return ReplaceResult(
        files=tuple(
            ReplacedFile(file.path, file.matches, file.etag, file.diff, file.error, raw_path(file))
            for file in message.files
        ),
        count=message.matches,
        skipped=tuple(_skipped(skip) for skip in message.skipped),
    )


def lines_from(message: pb.ReadLinesResponse) -> Lines:
    return Lines(
        text=message.text,
        first=message.first_line,
        count=message.lines,
        more=message.more,
        total=message.total_lines if message.HasField("total_lines") else None,
        etag=message.etag,
    )


def _globs(globs: Sequence[str]) -> list[str]:
    # One glob alone is a sequence, too: of characters.
    return [globs] if isinstance(globs, str) else list(globs)


def _grep_file(parts: Sequence[pb.GrepFile]) -> GrepFile:
    lines = tuple(
        GrepLine(line.number, line.text, tuple((match.start, match.end) for match in line.submatches))
        for part in parts
        for line in part.lines
    )
    return GrepFile(parts[0].path, lines, sum(part.matches for part in parts), raw_path(parts[0]))


def _skipped(message: pb.Skipped) -> Skipped:
    return Skipped(message.path, _REASONS.get(message.reason, "unknown"), raw_path(message))
