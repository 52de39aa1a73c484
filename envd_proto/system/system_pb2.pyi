import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("version", "commit", "started_at", "server_started_at", "server_restarts", "pid", "initialized", "token_required", "default_user", "default_workdir", "privileged", "can_freeze", "kernel", "architecture", "programs")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    SERVER_STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    SERVER_RESTARTS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    INITIALIZED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_USER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_WORKDIR_FIELD_NUMBER: _ClassVar[int]
    PRIVILEGED_FIELD_NUMBER: _ClassVar[int]
    CAN_FREEZE_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    version: str
    commit: str
    started_at: _timestamp_pb2.Timestamp
    server_started_at: _timestamp_pb2.Timestamp
    server_restarts: int
    pid: int
    initialized: bool
    token_required: bool
    default_user: str
    default_workdir: str
    privileged: bool
    can_freeze: bool
    kernel: str
    architecture: str
    programs: int
    def __init__(self, version: _Optional[str] = ..., commit: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., server_started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., server_restarts: _Optional[int] = ..., pid: _Optional[int] = ..., initialized: _Optional[bool] = ..., token_required: _Optional[bool] = ..., default_user: _Optional[str] = ..., default_workdir: _Optional[str] = ..., privileged: _Optional[bool] = ..., can_freeze: _Optional[bool] = ..., kernel: _Optional[str] = ..., architecture: _Optional[str] = ..., programs: _Optional[int] = ...) -> None: ...

class InitRequest(_message.Message):
    __slots__ = ("env_vars", "access_token", "timestamp", "default_user", "default_workdir")
    class Variables(_message.Message):
        __slots__ = ("values",)
        class ValuesEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: str
            def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
        VALUES_FIELD_NUMBER: _ClassVar[int]
        values: _containers.ScalarMap[str, str]
        def __init__(self, values: _Optional[_Mapping[str, str]] = ...) -> None: ...
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_USER_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_WORKDIR_FIELD_NUMBER: _ClassVar[int]
    env_vars: InitRequest.Variables
    access_token: str
    timestamp: _timestamp_pb2.Timestamp
    default_user: str
    default_workdir: str
    def __init__(self, env_vars: _Optional[_Union[InitRequest.Variables, _Mapping]] = ..., access_token: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., default_user: _Optional[str] = ..., default_workdir: _Optional[str] = ...) -> None: ...

class InitResponse(_message.Message):
    __slots__ = ("applied", "version")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    applied: bool
    version: str
    def __init__(self, applied: _Optional[bool] = ..., version: _Optional[str] = ...) -> None: ...

class MetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MetricsResponse(_message.Message):
    __slots__ = ("time", "cpu_count", "cpu_used_pct", "cpu_busy_us", "cpu_total_us", "mem_total", "mem_used", "mem_cache", "disk_total", "disk_used")
    TIME_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    CPU_USED_PCT_FIELD_NUMBER: _ClassVar[int]
    CPU_BUSY_US_FIELD_NUMBER: _ClassVar[int]
    CPU_TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    MEM_TOTAL_FIELD_NUMBER: _ClassVar[int]
    MEM_USED_FIELD_NUMBER: _ClassVar[int]
    MEM_CACHE_FIELD_NUMBER: _ClassVar[int]
    DISK_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DISK_USED_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    cpu_count: int
    cpu_used_pct: float
    cpu_busy_us: int
    cpu_total_us: int
    mem_total: int
    mem_used: int
    mem_cache: int
    disk_total: int
    disk_used: int
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cpu_count: _Optional[int] = ..., cpu_used_pct: _Optional[float] = ..., cpu_busy_us: _Optional[int] = ..., cpu_total_us: _Optional[int] = ..., mem_total: _Optional[int] = ..., mem_used: _Optional[int] = ..., mem_cache: _Optional[int] = ..., disk_total: _Optional[int] = ..., disk_used: _Optional[int] = ...) -> None: ...

class EnvsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EnvsResponse(_message.Message):
    __slots__ = ("envs",)
    class EnvsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENVS_FIELD_NUMBER: _ClassVar[int]
    envs: _containers.ScalarMap[str, str]
    def __init__(self, envs: _Optional[_Mapping[str, str]] = ...) -> None: ...

class FreezeRequest(_message.Message):
    __slots__ = ("mode", "max_wait_ms", "max_cgroups")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[FreezeRequest.Mode]
        MODE_PROGRAMS: _ClassVar[FreezeRequest.Mode]
        MODE_HIERARCHY: _ClassVar[FreezeRequest.Mode]
    MODE_UNSPECIFIED: FreezeRequest.Mode
    MODE_PROGRAMS: FreezeRequest.Mode
    MODE_HIERARCHY: FreezeRequest.Mode
    MODE_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_CGROUPS_FIELD_NUMBER: _ClassVar[int]
    mode: FreezeRequest.Mode
    max_wait_ms: int
    max_cgroups: int
    def __init__(self, mode: _Optional[_Union[FreezeRequest.Mode, str]] = ..., max_wait_ms: _Optional[int] = ..., max_cgroups: _Optional[int] = ...) -> None: ...

class FreezeResponse(_message.Message):
    __slots__ = ("requested", "frozen", "not_frozen", "pre_frozen", "failed", "unobservable", "visited", "allowlisted", "truncated", "sweep_ms", "wait_ms")
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    NOT_FROZEN_FIELD_NUMBER: _ClassVar[int]
    PRE_FROZEN_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    UNOBSERVABLE_FIELD_NUMBER: _ClassVar[int]
    VISITED_FIELD_NUMBER: _ClassVar[int]
    ALLOWLISTED_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    SWEEP_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    requested: int
    frozen: int
    not_frozen: int
    pre_frozen: int
    failed: int
    unobservable: int
    visited: int
    allowlisted: int
    truncated: bool
    sweep_ms: int
    wait_ms: int
    def __init__(self, requested: _Optional[int] = ..., frozen: _Optional[int] = ..., not_frozen: _Optional[int] = ..., pre_frozen: _Optional[int] = ..., failed: _Optional[int] = ..., unobservable: _Optional[int] = ..., visited: _Optional[int] = ..., allowlisted: _Optional[int] = ..., truncated: _Optional[bool] = ..., sweep_ms: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class ThawRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ThawResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
