import datetime

from envd_proto.filesystem import archive_pb2 as _archive_pb2
from envd_proto.filesystem import search_pb2 as _search_pb2
from envd_proto.filesystem import uploads_pb2 as _uploads_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FileType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_TYPE_UNSPECIFIED: _ClassVar[FileType]
    FILE_TYPE_FILE: _ClassVar[FileType]
    FILE_TYPE_DIRECTORY: _ClassVar[FileType]
    FILE_TYPE_SYMLINK: _ClassVar[FileType]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_CREATE: _ClassVar[EventType]
    EVENT_TYPE_WRITE: _ClassVar[EventType]
    EVENT_TYPE_REMOVE: _ClassVar[EventType]
    EVENT_TYPE_RENAME: _ClassVar[EventType]
    EVENT_TYPE_CHMOD: _ClassVar[EventType]
FILE_TYPE_UNSPECIFIED: FileType
FILE_TYPE_FILE: FileType
FILE_TYPE_DIRECTORY: FileType
FILE_TYPE_SYMLINK: FileType
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_CREATE: EventType
EVENT_TYPE_WRITE: EventType
EVENT_TYPE_REMOVE: EventType
EVENT_TYPE_RENAME: EventType
EVENT_TYPE_CHMOD: EventType

class EntryInfo(_message.Message):
    __slots__ = ("name", "type", "path", "size", "mode", "permissions", "owner", "group", "modified_time", "symlink_target", "metadata", "st_mode", "uid", "gid", "link_text", "etag", "raw_path", "raw_symlink_target")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_TIME_FIELD_NUMBER: _ClassVar[int]
    SYMLINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ST_MODE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    LINK_TEXT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_SYMLINK_TARGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: FileType
    path: str
    size: int
    mode: int
    permissions: str
    owner: str
    group: str
    modified_time: _timestamp_pb2.Timestamp
    symlink_target: str
    metadata: _containers.ScalarMap[str, str]
    st_mode: int
    uid: int
    gid: int
    link_text: bytes
    etag: str
    raw_path: bytes
    raw_symlink_target: bytes
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[FileType, str]] = ..., path: _Optional[str] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., permissions: _Optional[str] = ..., owner: _Optional[str] = ..., group: _Optional[str] = ..., modified_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., symlink_target: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., st_mode: _Optional[int] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., link_text: _Optional[bytes] = ..., etag: _Optional[str] = ..., raw_path: _Optional[bytes] = ..., raw_symlink_target: _Optional[bytes] = ...) -> None: ...

class StatRequest(_message.Message):
    __slots__ = ("path", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class StatResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class MakeDirRequest(_message.Message):
    __slots__ = ("path", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class MakeDirResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class MoveRequest(_message.Message):
    __slots__ = ("source", "destination", "raw_source", "raw_destination")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    RAW_SOURCE_FIELD_NUMBER: _ClassVar[int]
    RAW_DESTINATION_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    raw_source: bytes
    raw_destination: bytes
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., raw_source: _Optional[bytes] = ..., raw_destination: _Optional[bytes] = ...) -> None: ...

class MoveResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class ListDirRequest(_message.Message):
    __slots__ = ("path", "depth", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    depth: int
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., depth: _Optional[int] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class ListDirResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[EntryInfo]
    def __init__(self, entries: _Optional[_Iterable[_Union[EntryInfo, _Mapping]]] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("path", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FilesystemEvent(_message.Message):
    __slots__ = ("name", "type", "entry", "cursor", "raw_name")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RAW_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: EventType
    entry: EntryInfo
    cursor: str
    raw_name: bytes
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[EventType, str]] = ..., entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., cursor: _Optional[str] = ..., raw_name: _Optional[bytes] = ...) -> None: ...

class WatchDirRequest(_message.Message):
    __slots__ = ("path", "recursive", "include_entry", "allow_network_mounts", "cursor", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENTRY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_NETWORK_MOUNTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    recursive: bool
    include_entry: bool
    allow_network_mounts: bool
    cursor: str
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., recursive: _Optional[bool] = ..., include_entry: _Optional[bool] = ..., allow_network_mounts: _Optional[bool] = ..., cursor: _Optional[str] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class WatchDirResponse(_message.Message):
    __slots__ = ("start", "filesystem", "keepalive", "overflow")
    class StartEvent(_message.Message):
        __slots__ = ("cursor",)
        CURSOR_FIELD_NUMBER: _ClassVar[int]
        cursor: str
        def __init__(self, cursor: _Optional[str] = ...) -> None: ...
    class KeepAlive(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class OverflowEvent(_message.Message):
        __slots__ = ("reset", "cursor")
        RESET_FIELD_NUMBER: _ClassVar[int]
        CURSOR_FIELD_NUMBER: _ClassVar[int]
        reset: bool
        cursor: str
        def __init__(self, reset: _Optional[bool] = ..., cursor: _Optional[str] = ...) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    FILESYSTEM_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    start: WatchDirResponse.StartEvent
    filesystem: FilesystemEvent
    keepalive: WatchDirResponse.KeepAlive
    overflow: WatchDirResponse.OverflowEvent
    def __init__(self, start: _Optional[_Union[WatchDirResponse.StartEvent, _Mapping]] = ..., filesystem: _Optional[_Union[FilesystemEvent, _Mapping]] = ..., keepalive: _Optional[_Union[WatchDirResponse.KeepAlive, _Mapping]] = ..., overflow: _Optional[_Union[WatchDirResponse.OverflowEvent, _Mapping]] = ...) -> None: ...

class CreateWatcherRequest(_message.Message):
    __slots__ = ("path", "recursive", "include_entry", "allow_network_mounts", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENTRY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_NETWORK_MOUNTS_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    recursive: bool
    include_entry: bool
    allow_network_mounts: bool
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., recursive: _Optional[bool] = ..., include_entry: _Optional[bool] = ..., allow_network_mounts: _Optional[bool] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class CreateWatcherResponse(_message.Message):
    __slots__ = ("watcher_id",)
    WATCHER_ID_FIELD_NUMBER: _ClassVar[int]
    watcher_id: str
    def __init__(self, watcher_id: _Optional[str] = ...) -> None: ...

class GetWatcherEventsRequest(_message.Message):
    __slots__ = ("watcher_id", "cursor")
    WATCHER_ID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    watcher_id: str
    cursor: str
    def __init__(self, watcher_id: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class GetWatcherEventsResponse(_message.Message):
    __slots__ = ("events", "overflowed", "reset")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOWED_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[FilesystemEvent]
    overflowed: bool
    reset: bool
    def __init__(self, events: _Optional[_Iterable[_Union[FilesystemEvent, _Mapping]]] = ..., overflowed: _Optional[bool] = ..., reset: _Optional[bool] = ...) -> None: ...

class RemoveWatcherRequest(_message.Message):
    __slots__ = ("watcher_id",)
    WATCHER_ID_FIELD_NUMBER: _ClassVar[int]
    watcher_id: str
    def __init__(self, watcher_id: _Optional[str] = ...) -> None: ...

class RemoveWatcherResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("path", "offset", "length", "chunk_size", "if_match", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIZE_FIELD_NUMBER: _ClassVar[int]
    IF_MATCH_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    offset: int
    length: int
    chunk_size: int
    if_match: str
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., chunk_size: _Optional[int] = ..., if_match: _Optional[str] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("start", "chunk", "end")
    class StartEvent(_message.Message):
        __slots__ = ("entry", "length")
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        entry: EntryInfo
        length: int
        def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., length: _Optional[int] = ...) -> None: ...
    class Chunk(_message.Message):
        __slots__ = ("offset", "data")
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        DATA_FIELD_NUMBER: _ClassVar[int]
        offset: int
        data: bytes
        def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...
    class EndEvent(_message.Message):
        __slots__ = ("length",)
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        length: int
        def __init__(self, length: _Optional[int] = ...) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: ReadResponse.StartEvent
    chunk: ReadResponse.Chunk
    end: ReadResponse.EndEvent
    def __init__(self, start: _Optional[_Union[ReadResponse.StartEvent, _Mapping]] = ..., chunk: _Optional[_Union[ReadResponse.Chunk, _Mapping]] = ..., end: _Optional[_Union[ReadResponse.EndEvent, _Mapping]] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("options", "chunk")
    class Options(_message.Message):
        __slots__ = ("path", "mode", "parents", "append", "atomic", "if_match", "if_absent", "metadata", "sync", "sha256", "return_sha256", "raw_path")
        class MetadataEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: str
            def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
        PATH_FIELD_NUMBER: _ClassVar[int]
        MODE_FIELD_NUMBER: _ClassVar[int]
        PARENTS_FIELD_NUMBER: _ClassVar[int]
        APPEND_FIELD_NUMBER: _ClassVar[int]
        ATOMIC_FIELD_NUMBER: _ClassVar[int]
        IF_MATCH_FIELD_NUMBER: _ClassVar[int]
        IF_ABSENT_FIELD_NUMBER: _ClassVar[int]
        METADATA_FIELD_NUMBER: _ClassVar[int]
        SYNC_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        RETURN_SHA256_FIELD_NUMBER: _ClassVar[int]
        RAW_PATH_FIELD_NUMBER: _ClassVar[int]
        path: str
        mode: int
        parents: bool
        append: bool
        atomic: bool
        if_match: str
        if_absent: bool
        metadata: _containers.ScalarMap[str, str]
        sync: bool
        sha256: bytes
        return_sha256: bool
        raw_path: bytes
        def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., parents: _Optional[bool] = ..., append: _Optional[bool] = ..., atomic: _Optional[bool] = ..., if_match: _Optional[str] = ..., if_absent: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ..., sync: _Optional[bool] = ..., sha256: _Optional[bytes] = ..., return_sha256: _Optional[bool] = ..., raw_path: _Optional[bytes] = ...) -> None: ...
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    options: WriteRequest.Options
    chunk: bytes
    def __init__(self, options: _Optional[_Union[WriteRequest.Options, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class WriteFileRequest(_message.Message):
    __slots__ = ("options", "content")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    options: WriteRequest.Options
    content: bytes
    def __init__(self, options: _Optional[_Union[WriteRequest.Options, _Mapping]] = ..., content: _Optional[bytes] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("entry", "written", "created", "sha256")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    written: int
    created: bool
    sha256: bytes
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., written: _Optional[int] = ..., created: _Optional[bool] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("path", "depth", "batch_size", "page_size", "page_token", "skip_metadata", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_METADATA_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    depth: int
    batch_size: int
    page_size: int
    page_token: str
    skip_metadata: bool
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., depth: _Optional[int] = ..., batch_size: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip_metadata: _Optional[bool] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "unreadable", "next_page_token")
    class Unreadable(_message.Message):
        __slots__ = ("path", "errno", "raw_path")
        PATH_FIELD_NUMBER: _ClassVar[int]
        ERRNO_FIELD_NUMBER: _ClassVar[int]
        RAW_PATH_FIELD_NUMBER: _ClassVar[int]
        path: str
        errno: int
        raw_path: bytes
        def __init__(self, path: _Optional[str] = ..., errno: _Optional[int] = ..., raw_path: _Optional[bytes] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[EntryInfo]
    unreadable: _containers.RepeatedCompositeFieldContainer[ListEntriesResponse.Unreadable]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[EntryInfo, _Mapping]]] = ..., unreadable: _Optional[_Iterable[_Union[ListEntriesResponse.Unreadable, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CopyRequest(_message.Message):
    __slots__ = ("source", "destination", "recursive", "overwrite", "preserve", "raw_source", "raw_destination")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    PRESERVE_FIELD_NUMBER: _ClassVar[int]
    RAW_SOURCE_FIELD_NUMBER: _ClassVar[int]
    RAW_DESTINATION_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    recursive: bool
    overwrite: bool
    preserve: bool
    raw_source: bytes
    raw_destination: bytes
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., recursive: _Optional[bool] = ..., overwrite: _Optional[bool] = ..., preserve: _Optional[bool] = ..., raw_source: _Optional[bytes] = ..., raw_destination: _Optional[bytes] = ...) -> None: ...

class CopyResponse(_message.Message):
    __slots__ = ("entry", "entries", "bytes")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    entries: int
    bytes: int
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ..., entries: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class SetAttributesRequest(_message.Message):
    __slots__ = ("path", "mode", "owner", "group", "modified_time", "accessed_time", "no_follow", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_TIME_FIELD_NUMBER: _ClassVar[int]
    ACCESSED_TIME_FIELD_NUMBER: _ClassVar[int]
    NO_FOLLOW_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    mode: int
    owner: str
    group: str
    modified_time: _timestamp_pb2.Timestamp
    accessed_time: _timestamp_pb2.Timestamp
    no_follow: bool
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., mode: _Optional[int] = ..., owner: _Optional[str] = ..., group: _Optional[str] = ..., modified_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., accessed_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., no_follow: _Optional[bool] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class SetAttributesResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class MakeSymlinkRequest(_message.Message):
    __slots__ = ("path", "target", "overwrite", "raw_path", "raw_target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    OVERWRITE_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    RAW_TARGET_FIELD_NUMBER: _ClassVar[int]
    path: str
    target: str
    overwrite: bool
    raw_path: bytes
    raw_target: bytes
    def __init__(self, path: _Optional[str] = ..., target: _Optional[str] = ..., overwrite: _Optional[bool] = ..., raw_path: _Optional[bytes] = ..., raw_target: _Optional[bytes] = ...) -> None: ...

class MakeSymlinkResponse(_message.Message):
    __slots__ = ("entry",)
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    entry: EntryInfo
    def __init__(self, entry: _Optional[_Union[EntryInfo, _Mapping]] = ...) -> None: ...

class FindResponse(_message.Message):
    __slots__ = ("entries", "skipped", "summary")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[EntryInfo]
    skipped: _containers.RepeatedCompositeFieldContainer[_search_pb2.Skipped]
    summary: _search_pb2.FindSummary
    def __init__(self, entries: _Optional[_Iterable[_Union[EntryInfo, _Mapping]]] = ..., skipped: _Optional[_Iterable[_Union[_search_pb2.Skipped, _Mapping]]] = ..., summary: _Optional[_Union[_search_pb2.FindSummary, _Mapping]] = ...) -> None: ...
