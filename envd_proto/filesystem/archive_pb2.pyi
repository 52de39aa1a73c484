from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ArchiveFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHIVE_FORMAT_UNSPECIFIED: _ClassVar[ArchiveFormat]
    ARCHIVE_FORMAT_TAR: _ClassVar[ArchiveFormat]
    ARCHIVE_FORMAT_TAR_GZIP: _ClassVar[ArchiveFormat]
    ARCHIVE_FORMAT_TAR_ZSTD: _ClassVar[ArchiveFormat]

class ArchiveOwnership(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHIVE_OWNERSHIP_CALLER: _ClassVar[ArchiveOwnership]
    ARCHIVE_OWNERSHIP_NAMES: _ClassVar[ArchiveOwnership]
    ARCHIVE_OWNERSHIP_NUMBERS: _ClassVar[ArchiveOwnership]

class ArchiveConflict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHIVE_CONFLICT_OVERWRITE: _ClassVar[ArchiveConflict]
    ARCHIVE_CONFLICT_FAIL: _ClassVar[ArchiveConflict]
    ARCHIVE_CONFLICT_SKIP: _ClassVar[ArchiveConflict]
ARCHIVE_FORMAT_UNSPECIFIED: ArchiveFormat
ARCHIVE_FORMAT_TAR: ArchiveFormat
ARCHIVE_FORMAT_TAR_GZIP: ArchiveFormat
ARCHIVE_FORMAT_TAR_ZSTD: ArchiveFormat
ARCHIVE_OWNERSHIP_CALLER: ArchiveOwnership
ARCHIVE_OWNERSHIP_NAMES: ArchiveOwnership
ARCHIVE_OWNERSHIP_NUMBERS: ArchiveOwnership
ARCHIVE_CONFLICT_OVERWRITE: ArchiveConflict
ARCHIVE_CONFLICT_FAIL: ArchiveConflict
ARCHIVE_CONFLICT_SKIP: ArchiveConflict

class ArchiveRequest(_message.Message):
    __slots__ = ("path", "members", "exclude", "format", "chunk_size", "raw_path", "raw_members")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIZE_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    path: str
    members: _containers.RepeatedScalarFieldContainer[str]
    exclude: _containers.RepeatedScalarFieldContainer[str]
    format: ArchiveFormat
    chunk_size: int
    raw_path: bytes
    raw_members: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, path: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ..., exclude: _Optional[_Iterable[str]] = ..., format: _Optional[_Union[ArchiveFormat, str]] = ..., chunk_size: _Optional[int] = ..., raw_path: _Optional[bytes] = ..., raw_members: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ArchiveResponse(_message.Message):
    __slots__ = ("start", "chunk", "end")
    class StartEvent(_message.Message):
        __slots__ = ("path", "format", "raw_path")
        PATH_FIELD_NUMBER: _ClassVar[int]
        FORMAT_FIELD_NUMBER: _ClassVar[int]
        RAW_PATH_FIELD_NUMBER: _ClassVar[int]
        path: str
        format: ArchiveFormat
        raw_path: bytes
        def __init__(self, path: _Optional[str] = ..., format: _Optional[_Union[ArchiveFormat, str]] = ..., raw_path: _Optional[bytes] = ...) -> None: ...
    class Chunk(_message.Message):
        __slots__ = ("offset", "data")
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        offset: int
        data: bytes
        def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...
    class LeftOut(_message.Message):
        __slots__ = ("name", "reason", "errno", "raw_name")
        class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            REASON_UNSPECIFIED: _ClassVar[ArchiveResponse.LeftOut.Reason]
            REASON_KIND: _ClassVar[ArchiveResponse.LeftOut.Reason]
            REASON_VANISHED: _ClassVar[ArchiveResponse.LeftOut.Reason]
            REASON_UNREADABLE: _ClassVar[ArchiveResponse.LeftOut.Reason]
        REASON_UNSPECIFIED: ArchiveResponse.LeftOut.Reason
        REASON_KIND: ArchiveResponse.LeftOut.Reason
        REASON_VANISHED: ArchiveResponse.LeftOut.Reason
        REASON_UNREADABLE: ArchiveResponse.LeftOut.Reason
        NAME_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        ERRNO_FIELD_NUMBER: _ClassVar[int]
        RAW_NAME_FIELD_NUMBER: _ClassVar[int]
        name: str
        reason: ArchiveResponse.LeftOut.Reason
        errno: int
        raw_name: bytes
        def __init__(self, name: _Optional[str] = ..., reason: _Optional[_Union[ArchiveResponse.LeftOut.Reason, str]] = ..., errno: _Optional[int] = ..., raw_name: _Optional[bytes] = ...) -> None: ...
    class EndEvent(_message.Message):
        __slots__ = ("entries", "content_bytes", "archive_bytes", "left_out", "left_out_count")
        ENTRIES_FIELD_NUMBER: _ClassVar[int]
        CONTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
        ARCHIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
        LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
        LEFT_OUT_COUNT_FIELD_NUMBER: _ClassVar[int]
        entries: int
        content_bytes: int
        archive_bytes: int
        left_out: _containers.RepeatedCompositeFieldContainer[ArchiveResponse.LeftOut]
        left_out_count: int
        def __init__(self, entries: _Optional[int] = ..., content_bytes: _Optional[int] = ..., archive_bytes: _Optional[int] = ..., left_out: _Optional[_Iterable[_Union[ArchiveResponse.LeftOut, _Mapping]]] = ..., left_out_count: _Optional[int] = ...) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: ArchiveResponse.StartEvent
    chunk: ArchiveResponse.Chunk
    end: ArchiveResponse.EndEvent
    def __init__(self, start: _Optional[_Union[ArchiveResponse.StartEvent, _Mapping]] = ..., chunk: _Optional[_Union[ArchiveResponse.Chunk, _Mapping]] = ..., end: _Optional[_Union[ArchiveResponse.EndEvent, _Mapping]] = ...) -> None: ...

class ExtractRequest(_message.Message):
    __slots__ = ("options", "chunk")
    class Options(_message.Message):
        __slots__ = ("path", "format", "ownership", "set_id", "conflict", "outside_links", "max_entries", "max_content_bytes", "raw_path")
        PATH_FIELD_NUMBER: _ClassVar[int]
        FORMAT_FIELD_NUMBER: _ClassVar[int]
        OWNERSHIP_FIELD_NUMBER: _ClassVar[int]
        SET_ID_FIELD_NUMBER: _ClassVar[int]
        CONFLICT_FIELD_NUMBER: _ClassVar[int]
        OUTSIDE_LINKS_FIELD_NUMBER: _ClassVar[int]
        MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
        MAX_CONTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
        RAW_PATH_FIELD_NUMBER: _ClassVar[int]
        path: str
        format: ArchiveFormat
        ownership: ArchiveOwnership
        set_id: bool
        conflict: ArchiveConflict
        outside_links: bool
        max_entries: int
        max_content_bytes: int
        raw_path: bytes
        def __init__(self, path: _Optional[str] = ..., format: _Optional[_Union[ArchiveFormat, str]] = ..., ownership: _Optional[_Union[ArchiveOwnership, str]] = ..., set_id: _Optional[bool] = ..., conflict: _Optional[_Union[ArchiveConflict, str]] = ..., outside_links: _Optional[bool] = ..., max_entries: _Optional[int] = ..., max_content_bytes: _Optional[int] = ..., raw_path: _Optional[bytes] = ...) -> None: ...
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    options: ExtractRequest.Options
    chunk: bytes
    def __init__(self, options: _Optional[_Union[ExtractRequest.Options, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ExtractResponse(_message.Message):
    __slots__ = ("path", "created", "entries", "content_bytes", "archive_bytes", "skipped", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    created: bool
    entries: int
    content_bytes: int
    archive_bytes: int
    skipped: int
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., created: _Optional[bool] = ..., entries: _Optional[int] = ..., content_bytes: _Optional[int] = ..., archive_bytes: _Optional[int] = ..., skipped: _Optional[int] = ..., raw_path: _Optional[bytes] = ...) -> None: ...
