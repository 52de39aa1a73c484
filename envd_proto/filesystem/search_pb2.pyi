import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SearchOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_ORDER_UNSPECIFIED: _ClassVar[SearchOrder]
    SEARCH_ORDER_NONE: _ClassVar[SearchOrder]
    SEARCH_ORDER_MODIFIED: _ClassVar[SearchOrder]
    SEARCH_ORDER_SIZE: _ClassVar[SearchOrder]

class SearchType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_TYPE_UNSPECIFIED: _ClassVar[SearchType]
    SEARCH_TYPE_FILE: _ClassVar[SearchType]
    SEARCH_TYPE_DIRECTORY: _ClassVar[SearchType]
    SEARCH_TYPE_SYMLINK: _ClassVar[SearchType]
    SEARCH_TYPE_OTHER: _ClassVar[SearchType]

class SkipReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SKIP_REASON_UNSPECIFIED: _ClassVar[SkipReason]
    SKIP_REASON_UNREADABLE: _ClassVar[SkipReason]
    SKIP_REASON_BINARY: _ClassVar[SkipReason]
    SKIP_REASON_TOO_LARGE: _ClassVar[SkipReason]
    SKIP_REASON_TOO_SLOW: _ClassVar[SkipReason]
    SKIP_REASON_CHANGED: _ClassVar[SkipReason]

class CaseMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CASE_MODE_UNSPECIFIED: _ClassVar[CaseMode]
    CASE_MODE_INSENSITIVE: _ClassVar[CaseMode]
    CASE_MODE_SMART: _ClassVar[CaseMode]

class GrepOutput(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GREP_OUTPUT_UNSPECIFIED: _ClassVar[GrepOutput]
    GREP_OUTPUT_FILES: _ClassVar[GrepOutput]
    GREP_OUTPUT_COUNTS: _ClassVar[GrepOutput]
SEARCH_ORDER_UNSPECIFIED: SearchOrder
SEARCH_ORDER_NONE: SearchOrder
SEARCH_ORDER_MODIFIED: SearchOrder
SEARCH_ORDER_SIZE: SearchOrder
SEARCH_TYPE_UNSPECIFIED: SearchType
SEARCH_TYPE_FILE: SearchType
SEARCH_TYPE_DIRECTORY: SearchType
SEARCH_TYPE_SYMLINK: SearchType
SEARCH_TYPE_OTHER: SearchType
SKIP_REASON_UNSPECIFIED: SkipReason
SKIP_REASON_UNREADABLE: SkipReason
SKIP_REASON_BINARY: SkipReason
SKIP_REASON_TOO_LARGE: SkipReason
SKIP_REASON_TOO_SLOW: SkipReason
SKIP_REASON_CHANGED: SkipReason
CASE_MODE_UNSPECIFIED: CaseMode
CASE_MODE_INSENSITIVE: CaseMode
CASE_MODE_SMART: CaseMode
GREP_OUTPUT_UNSPECIFIED: GrepOutput
GREP_OUTPUT_FILES: GrepOutput
GREP_OUTPUT_COUNTS: GrepOutput

class Selection(_message.Message):
    __slots__ = ("path", "include", "exclude", "gitignore", "skip_hidden", "max_depth", "follow_links", "one_file_system", "types", "min_size", "max_size", "modified_since", "modified_before", "order", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    GITIGNORE_FIELD_NUMBER: _ClassVar[int]
    SKIP_HIDDEN_FIELD_NUMBER: _ClassVar[int]
    MAX_DEPTH_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_LINKS_FIELD_NUMBER: _ClassVar[int]
    ONE_FILE_SYSTEM_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_SINCE_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    include: _containers.RepeatedScalarFieldContainer[str]
    exclude: _containers.RepeatedScalarFieldContainer[str]
    gitignore: bool
    skip_hidden: bool
    max_depth: int
    follow_links: bool
    one_file_system: bool
    types: _containers.RepeatedScalarFieldContainer[SearchType]
    min_size: int
    max_size: int
    modified_since: _timestamp_pb2.Timestamp
    modified_before: _timestamp_pb2.Timestamp
    order: SearchOrder
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., include: _Optional[_Iterable[str]] = ..., exclude: _Optional[_Iterable[str]] = ..., gitignore: _Optional[bool] = ..., skip_hidden: _Optional[bool] = ..., max_depth: _Optional[int] = ..., follow_links: _Optional[bool] = ..., one_file_system: _Optional[bool] = ..., types: _Optional[_Iterable[_Union[SearchType, str]]] = ..., min_size: _Optional[int] = ..., max_size: _Optional[int] = ..., modified_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., modified_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., order: _Optional[_Union[SearchOrder, str]] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class FindRequest(_message.Message):
    __slots__ = ("selection", "limit", "with_metadata")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    WITH_METADATA_FIELD_NUMBER: _ClassVar[int]
    selection: Selection
    limit: int
    with_metadata: bool
    def __init__(self, selection: _Optional[_Union[Selection, _Mapping]] = ..., limit: _Optional[int] = ..., with_metadata: _Optional[bool] = ...) -> None: ...

class Skipped(_message.Message):
    __slots__ = ("path", "raw_path", "reason", "errno")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    path: str
    raw_path: bytes
    reason: SkipReason
    errno: int
    def __init__(self, path: _Optional[str] = ..., raw_path: _Optional[bytes] = ..., reason: _Optional[_Union[SkipReason, str]] = ..., errno: _Optional[int] = ...) -> None: ...

class FindSummary(_message.Message):
    __slots__ = ("entries", "examined", "skipped", "truncated")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    EXAMINED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    entries: int
    examined: int
    skipped: int
    truncated: bool
    def __init__(self, entries: _Optional[int] = ..., examined: _Optional[int] = ..., skipped: _Optional[int] = ..., truncated: _Optional[bool] = ...) -> None: ...

class Pattern(_message.Message):
    __slots__ = ("text", "fixed", "case", "word", "multiline")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FIXED_FIELD_NUMBER: _ClassVar[int]
    CASE_FIELD_NUMBER: _ClassVar[int]
    WORD_FIELD_NUMBER: _ClassVar[int]
    MULTILINE_FIELD_NUMBER: _ClassVar[int]
    text: str
    fixed: bool
    case: CaseMode
    word: bool
    multiline: bool
    def __init__(self, text: _Optional[str] = ..., fixed: _Optional[bool] = ..., case: _Optional[_Union[CaseMode, str]] = ..., word: _Optional[bool] = ..., multiline: _Optional[bool] = ...) -> None: ...

class GrepRequest(_message.Message):
    __slots__ = ("selection", "pattern", "output", "before", "after", "max_per_file", "max_matches", "max_bytes", "max_line_bytes", "binary")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_FILE_FIELD_NUMBER: _ClassVar[int]
    MAX_MATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LINE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    selection: Selection
    pattern: Pattern
    output: GrepOutput
    before: int
    after: int
    max_per_file: int
    max_matches: int
    max_bytes: int
    max_line_bytes: int
    binary: bool
    def __init__(self, selection: _Optional[_Union[Selection, _Mapping]] = ..., pattern: _Optional[_Union[Pattern, _Mapping]] = ..., output: _Optional[_Union[GrepOutput, str]] = ..., before: _Optional[int] = ..., after: _Optional[int] = ..., max_per_file: _Optional[int] = ..., max_matches: _Optional[int] = ..., max_bytes: _Optional[int] = ..., max_line_bytes: _Optional[int] = ..., binary: _Optional[bool] = ...) -> None: ...

class Submatch(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class GrepLine(_message.Message):
    __slots__ = ("number", "offset", "text", "raw", "submatches", "clipped_before", "clipped_after")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    SUBMATCHES_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_AFTER_FIELD_NUMBER: _ClassVar[int]
    number: int
    offset: int
    text: str
    raw: bytes
    submatches: _containers.RepeatedCompositeFieldContainer[Submatch]
    clipped_before: int
    clipped_after: int
    def __init__(self, number: _Optional[int] = ..., offset: _Optional[int] = ..., text: _Optional[str] = ..., raw: _Optional[bytes] = ..., submatches: _Optional[_Iterable[_Union[Submatch, _Mapping]]] = ..., clipped_before: _Optional[int] = ..., clipped_after: _Optional[int] = ...) -> None: ...

class GrepFile(_message.Message):
    __slots__ = ("path", "raw_path", "lines", "matches")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    path: str
    raw_path: bytes
    lines: _containers.RepeatedCompositeFieldContainer[GrepLine]
    matches: int
    def __init__(self, path: _Optional[str] = ..., raw_path: _Optional[bytes] = ..., lines: _Optional[_Iterable[_Union[GrepLine, _Mapping]]] = ..., matches: _Optional[int] = ...) -> None: ...

class GrepSummary(_message.Message):
    __slots__ = ("files_searched", "files_matched", "files_skipped", "matches", "bytes_searched", "truncated")
    FILES_SEARCHED_FIELD_NUMBER: _ClassVar[int]
    FILES_MATCHED_FIELD_NUMBER: _ClassVar[int]
    FILES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    BYTES_SEARCHED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    files_searched: int
    files_matched: int
    files_skipped: int
    matches: int
    bytes_searched: int
    truncated: bool
    def __init__(self, files_searched: _Optional[int] = ..., files_matched: _Optional[int] = ..., files_skipped: _Optional[int] = ..., matches: _Optional[int] = ..., bytes_searched: _Optional[int] = ..., truncated: _Optional[bool] = ...) -> None: ...

class GrepResponse(_message.Message):
    __slots__ = ("files", "skipped", "summary")
    FILES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[GrepFile]
    skipped: _containers.RepeatedCompositeFieldContainer[Skipped]
    summary: GrepSummary
    def __init__(self, files: _Optional[_Iterable[_Union[GrepFile, _Mapping]]] = ..., skipped: _Optional[_Iterable[_Union[Skipped, _Mapping]]] = ..., summary: _Optional[_Union[GrepSummary, _Mapping]] = ...) -> None: ...

class ReplaceRequest(_message.Message):
    __slots__ = ("selection", "pattern", "replacement", "expected_matches", "if_match", "dry_run", "diff", "max_diff_bytes", "sync")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    REPLACEMENT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_MATCHES_FIELD_NUMBER: _ClassVar[int]
    IF_MATCH_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    MAX_DIFF_BYTES_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    selection: Selection
    pattern: Pattern
    replacement: str
    expected_matches: int
    if_match: str
    dry_run: bool
    diff: bool
    max_diff_bytes: int
    sync: bool
    def __init__(self, selection: _Optional[_Union[Selection, _Mapping]] = ..., pattern: _Optional[_Union[Pattern, _Mapping]] = ..., replacement: _Optional[str] = ..., expected_matches: _Optional[int] = ..., if_match: _Optional[str] = ..., dry_run: _Optional[bool] = ..., diff: _Optional[bool] = ..., max_diff_bytes: _Optional[int] = ..., sync: _Optional[bool] = ...) -> None: ...

class ReplacedFile(_message.Message):
    __slots__ = ("path", "raw_path", "matches", "etag", "diff", "raw_diff", "diff_truncated", "error")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    RAW_DIFF_FIELD_NUMBER: _ClassVar[int]
    DIFF_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    path: str
    raw_path: bytes
    matches: int
    etag: str
    diff: str
    raw_diff: bytes
    diff_truncated: bool
    error: str
    def __init__(self, path: _Optional[str] = ..., raw_path: _Optional[bytes] = ..., matches: _Optional[int] = ..., etag: _Optional[str] = ..., diff: _Optional[str] = ..., raw_diff: _Optional[bytes] = ..., diff_truncated: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class ReplaceResponse(_message.Message):
    __slots__ = ("files", "skipped", "matches", "files_searched", "files_changed", "files_skipped")
    FILES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    FILES_SEARCHED_FIELD_NUMBER: _ClassVar[int]
    FILES_CHANGED_FIELD_NUMBER: _ClassVar[int]
    FILES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[ReplacedFile]
    skipped: _containers.RepeatedCompositeFieldContainer[Skipped]
    matches: int
    files_searched: int
    files_changed: int
    files_skipped: int
    def __init__(self, files: _Optional[_Iterable[_Union[ReplacedFile, _Mapping]]] = ..., skipped: _Optional[_Iterable[_Union[Skipped, _Mapping]]] = ..., matches: _Optional[int] = ..., files_searched: _Optional[int] = ..., files_changed: _Optional[int] = ..., files_skipped: _Optional[int] = ...) -> None: ...

class ReadLinesRequest(_message.Message):
    __slots__ = ("path", "first", "last", "max_bytes", "offset", "count", "if_match", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    IF_MATCH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    first: int
    last: int
    max_bytes: int
    offset: int
    count: bool
    if_match: str
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., max_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., count: _Optional[bool] = ..., if_match: _Optional[str] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class ReadLinesResponse(_message.Message):
    __slots__ = ("text", "raw", "first_line", "lines", "offset", "next_offset", "next_line", "cut", "more", "total_lines", "ends_with_newline", "size", "etag")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    FIRST_LINE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    NEXT_LINE_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_LINES_FIELD_NUMBER: _ClassVar[int]
    ENDS_WITH_NEWLINE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    text: str
    raw: bytes
    first_line: int
    lines: int
    offset: int
    next_offset: int
    next_line: int
    cut: bool
    more: bool
    total_lines: int
    ends_with_newline: bool
    size: int
    etag: str
    def __init__(self, text: _Optional[str] = ..., raw: _Optional[bytes] = ..., first_line: _Optional[int] = ..., lines: _Optional[int] = ..., offset: _Optional[int] = ..., next_offset: _Optional[int] = ..., next_line: _Optional[int] = ..., cut: _Optional[bool] = ..., more: _Optional[bool] = ..., total_lines: _Optional[int] = ..., ends_with_newline: _Optional[bool] = ..., size: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...
