import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UploadRange(_message.Message):
    __slots__ = ("offset", "length")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    offset: int
    length: int
    def __init__(self, offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class UploadInfo(_message.Message):
    __slots__ = ("id", "state", "path", "size", "received_bytes", "contiguous_bytes", "parts_under_way", "expire_time", "raw_path")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[UploadInfo.State]
        STATE_OPEN: _ClassVar[UploadInfo.State]
        STATE_COMMITTED: _ClassVar[UploadInfo.State]
    STATE_UNSPECIFIED: UploadInfo.State
    STATE_OPEN: UploadInfo.State
    STATE_COMMITTED: UploadInfo.State
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTIGUOUS_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTS_UNDER_WAY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: UploadInfo.State
    path: str
    size: int
    received_bytes: int
    contiguous_bytes: int
    parts_under_way: int
    expire_time: _timestamp_pb2.Timestamp
    raw_path: bytes
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[UploadInfo.State, str]] = ..., path: _Optional[str] = ..., size: _Optional[int] = ..., received_bytes: _Optional[int] = ..., contiguous_bytes: _Optional[int] = ..., parts_under_way: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class CreateUploadRequest(_message.Message):
    __slots__ = ("path", "size", "sha256", "idempotency_key", "mode", "parents", "atomic", "if_match", "if_absent", "metadata", "sync", "raw_path")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    IF_MATCH_FIELD_NUMBER: _ClassVar[int]
    IF_ABSENT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    sha256: bytes
    idempotency_key: str
    mode: int
    parents: bool
    atomic: bool
    if_match: str
    if_absent: bool
    metadata: _containers.ScalarMap[str, str]
    sync: bool
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., mode: _Optional[int] = ..., parents: _Optional[bool] = ..., atomic: _Optional[bool] = ..., if_match: _Optional[str] = ..., if_absent: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ..., sync: _Optional[bool] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class CreateUploadResponse(_message.Message):
    __slots__ = ("upload", "existing")
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    upload: UploadInfo
    existing: bool
    def __init__(self, upload: _Optional[_Union[UploadInfo, _Mapping]] = ..., existing: _Optional[bool] = ...) -> None: ...

class WritePartRequest(_message.Message):
    __slots__ = ("start", "chunk")
    class Start(_message.Message):
        __slots__ = ("upload_id", "offset", "length", "sha256", "crc32")
        UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        LENGTH_FIELD_NUMBER: _ClassVar[int]
        SHA256_FIELD_NUMBER: _ClassVar[int]
        CRC32_FIELD_NUMBER: _ClassVar[int]
        upload_id: str
        offset: int
        length: int
        sha256: bytes
        crc32: int
        def __init__(self, upload_id: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., sha256: _Optional[bytes] = ..., crc32: _Optional[int] = ...) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: WritePartRequest.Start
    chunk: bytes
    def __init__(self, start: _Optional[_Union[WritePartRequest.Start, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class WritePartResponse(_message.Message):
    __slots__ = ("length", "received_bytes", "contiguous_bytes")
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTIGUOUS_BYTES_FIELD_NUMBER: _ClassVar[int]
    length: int
    received_bytes: int
    contiguous_bytes: int
    def __init__(self, length: _Optional[int] = ..., received_bytes: _Optional[int] = ..., contiguous_bytes: _Optional[int] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("upload_id", "offset")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    offset: int
    def __init__(self, upload_id: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class GetUploadResponse(_message.Message):
    __slots__ = ("upload", "received", "next_offset")
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    upload: UploadInfo
    received: _containers.RepeatedCompositeFieldContainer[UploadRange]
    next_offset: int
    def __init__(self, upload: _Optional[_Union[UploadInfo, _Mapping]] = ..., received: _Optional[_Iterable[_Union[UploadRange, _Mapping]]] = ..., next_offset: _Optional[int] = ...) -> None: ...

class ListUploadsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListUploadsResponse(_message.Message):
    __slots__ = ("uploads", "next_page_token")
    UPLOADS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    uploads: _containers.RepeatedCompositeFieldContainer[UploadInfo]
    next_page_token: str
    def __init__(self, uploads: _Optional[_Iterable[_Union[UploadInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CommitUploadRequest(_message.Message):
    __slots__ = ("upload_id", "size", "sha256")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    size: int
    sha256: bytes
    def __init__(self, upload_id: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class CommitUploadResponse(_message.Message):
    __slots__ = ("path", "size", "etag", "created", "raw_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    RAW_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    etag: str
    created: bool
    raw_path: bytes
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., etag: _Optional[str] = ..., created: _Optional[bool] = ..., raw_path: _Optional[bytes] = ...) -> None: ...

class AbortUploadRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class AbortUploadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
