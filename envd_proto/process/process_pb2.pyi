import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signal(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNAL_UNSPECIFIED: _ClassVar[Signal]
    SIGNAL_SIGKILL: _ClassVar[Signal]
    SIGNAL_SIGTERM: _ClassVar[Signal]

class SignalTarget(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNAL_TARGET_UNSPECIFIED: _ClassVar[SignalTarget]
    SIGNAL_TARGET_LEADER: _ClassVar[SignalTarget]
    SIGNAL_TARGET_GROUP: _ClassVar[SignalTarget]
    SIGNAL_TARGET_TREE: _ClassVar[SignalTarget]
SIGNAL_UNSPECIFIED: Signal
SIGNAL_SIGKILL: Signal
SIGNAL_SIGTERM: Signal
SIGNAL_TARGET_UNSPECIFIED: SignalTarget
SIGNAL_TARGET_LEADER: SignalTarget
SIGNAL_TARGET_GROUP: SignalTarget
SIGNAL_TARGET_TREE: SignalTarget

class PTY(_message.Message):
    __slots__ = ("size",)
    class Size(_message.Message):
        __slots__ = ("cols", "rows")
        COLS_FIELD_NUMBER: _ClassVar[int]
        ROWS_FIELD_NUMBER: _ClassVar[int]
        cols: int
        rows: int
        def __init__(self, cols: _Optional[int] = ..., rows: _Optional[int] = ...) -> None: ...
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: PTY.Size
    def __init__(self, size: _Optional[_Union[PTY.Size, _Mapping]] = ...) -> None: ...

class ProcessConfig(_message.Message):
    __slots__ = ("cmd", "args", "envs", "cwd")
    class EnvsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CMD_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    ENVS_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    cmd: str
    args: _containers.RepeatedScalarFieldContainer[str]
    envs: _containers.ScalarMap[str, str]
    cwd: str
    def __init__(self, cmd: _Optional[str] = ..., args: _Optional[_Iterable[str]] = ..., envs: _Optional[_Mapping[str, str]] = ..., cwd: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("include_finished",)
    INCLUDE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    include_finished: bool
    def __init__(self, include_finished: _Optional[bool] = ...) -> None: ...

class ProcessInfo(_message.Message):
    __slots__ = ("config", "pid", "tag", "user", "started_at", "end", "abridged")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ABRIDGED_FIELD_NUMBER: _ClassVar[int]
    config: ProcessConfig
    pid: int
    tag: str
    user: str
    started_at: _timestamp_pb2.Timestamp
    end: ProcessEvent.EndEvent
    abridged: bool
    def __init__(self, config: _Optional[_Union[ProcessConfig, _Mapping]] = ..., pid: _Optional[int] = ..., tag: _Optional[str] = ..., user: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[ProcessEvent.EndEvent, _Mapping]] = ..., abridged: _Optional[bool] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[ProcessInfo]
    def __init__(self, processes: _Optional[_Iterable[_Union[ProcessInfo, _Mapping]]] = ...) -> None: ...

class OutputPosition(_message.Message):
    __slots__ = ("stdout", "stderr", "pty")
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    stdout: int
    stderr: int
    pty: int
    def __init__(self, stdout: _Optional[int] = ..., stderr: _Optional[int] = ..., pty: _Optional[int] = ...) -> None: ...

class Timeouts(_message.Message):
    __slots__ = ("wall_ms", "idle_ms", "grace_ms")
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    wall_ms: int
    idle_ms: int
    grace_ms: int
    def __init__(self, wall_ms: _Optional[int] = ..., idle_ms: _Optional[int] = ..., grace_ms: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("open_files", "processes", "address_space_bytes", "file_size_bytes", "core_bytes", "cpu_seconds", "nice", "oom_score_adj")
    OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_SPACE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NICE_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    open_files: int
    processes: int
    address_space_bytes: int
    file_size_bytes: int
    core_bytes: int
    cpu_seconds: int
    nice: int
    oom_score_adj: int
    def __init__(self, open_files: _Optional[int] = ..., processes: _Optional[int] = ..., address_space_bytes: _Optional[int] = ..., file_size_bytes: _Optional[int] = ..., core_bytes: _Optional[int] = ..., cpu_seconds: _Optional[int] = ..., nice: _Optional[int] = ..., oom_score_adj: _Optional[int] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("process", "pty", "tag", "stdin", "idempotency_key", "timeouts", "resume", "limits", "event_bytes")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EVENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    process: ProcessConfig
    pty: PTY
    tag: str
    stdin: bool
    idempotency_key: str
    timeouts: Timeouts
    resume: OutputPosition
    limits: Limits
    event_bytes: int
    def __init__(self, process: _Optional[_Union[ProcessConfig, _Mapping]] = ..., pty: _Optional[_Union[PTY, _Mapping]] = ..., tag: _Optional[str] = ..., stdin: _Optional[bool] = ..., idempotency_key: _Optional[str] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., resume: _Optional[_Union[OutputPosition, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., event_bytes: _Optional[int] = ...) -> None: ...

class UpdateRequest(_message.Message):
    __slots__ = ("process", "pty")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    process: ProcessSelector
    pty: PTY
    def __init__(self, process: _Optional[_Union[ProcessSelector, _Mapping]] = ..., pty: _Optional[_Union[PTY, _Mapping]] = ...) -> None: ...

class UpdateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProcessEvent(_message.Message):
    __slots__ = ("start", "data", "end", "keepalive", "gap")
    class Stream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STREAM_UNSPECIFIED: _ClassVar[ProcessEvent.Stream]
        STREAM_STDOUT: _ClassVar[ProcessEvent.Stream]
        STREAM_STDERR: _ClassVar[ProcessEvent.Stream]
        STREAM_PTY: _ClassVar[ProcessEvent.Stream]
    STREAM_UNSPECIFIED: ProcessEvent.Stream
    STREAM_STDOUT: ProcessEvent.Stream
    STREAM_STDERR: ProcessEvent.Stream
    STREAM_PTY: ProcessEvent.Stream
    class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CAUSE_UNSPECIFIED: _ClassVar[ProcessEvent.Cause]
        CAUSE_ITSELF: _ClassVar[ProcessEvent.Cause]
        CAUSE_SIGNAL_REQUEST: _ClassVar[ProcessEvent.Cause]
        CAUSE_DEADLINE: _ClassVar[ProcessEvent.Cause]
        CAUSE_WALL_TIMEOUT: _ClassVar[ProcessEvent.Cause]
        CAUSE_IDLE_TIMEOUT: _ClassVar[ProcessEvent.Cause]
        CAUSE_EXEC_FAILED: _ClassVar[ProcessEvent.Cause]
        CAUSE_SHUTDOWN: _ClassVar[ProcessEvent.Cause]
    CAUSE_UNSPECIFIED: ProcessEvent.Cause
    CAUSE_ITSELF: ProcessEvent.Cause
    CAUSE_SIGNAL_REQUEST: ProcessEvent.Cause
    CAUSE_DEADLINE: ProcessEvent.Cause
    CAUSE_WALL_TIMEOUT: ProcessEvent.Cause
    CAUSE_IDLE_TIMEOUT: ProcessEvent.Cause
    CAUSE_EXEC_FAILED: ProcessEvent.Cause
    CAUSE_SHUTDOWN: ProcessEvent.Cause
    class StartEvent(_message.Message):
        __slots__ = ("pid", "existing", "position", "started_at")
        PID_FIELD_NUMBER: _ClassVar[int]
        EXISTING_FIELD_NUMBER: _ClassVar[int]
        POSITION_FIELD_NUMBER: _ClassVar[int]
        STARTED_AT_FIELD_NUMBER: _ClassVar[int]
        pid: int
        existing: bool
        position: OutputPosition
        started_at: _timestamp_pb2.Timestamp
        def __init__(self, pid: _Optional[int] = ..., existing: _Optional[bool] = ..., position: _Optional[_Union[OutputPosition, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class DataEvent(_message.Message):
        __slots__ = ("stdout", "stderr", "pty", "offset")
        STDOUT_FIELD_NUMBER: _ClassVar[int]
        STDERR_FIELD_NUMBER: _ClassVar[int]
        PTY_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        stdout: bytes
        stderr: bytes
        pty: bytes
        offset: int
        def __init__(self, stdout: _Optional[bytes] = ..., stderr: _Optional[bytes] = ..., pty: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...
    class GapEvent(_message.Message):
        __slots__ = ("stream", "begin", "end")
        STREAM_FIELD_NUMBER: _ClassVar[int]
        BEGIN_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        stream: ProcessEvent.Stream
        begin: int
        end: int
        def __init__(self, stream: _Optional[_Union[ProcessEvent.Stream, str]] = ..., begin: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...
    class ExecFailure(_message.Message):
        __slots__ = ("errno", "stage")
        ERRNO_FIELD_NUMBER: _ClassVar[int]
        STAGE_FIELD_NUMBER: _ClassVar[int]
        errno: int
        stage: str
        def __init__(self, errno: _Optional[int] = ..., stage: _Optional[str] = ...) -> None: ...
    class Usage(_message.Message):
        __slots__ = ("user_us", "system_us", "max_rss_bytes")
        USER_US_FIELD_NUMBER: _ClassVar[int]
        SYSTEM_US_FIELD_NUMBER: _ClassVar[int]
        MAX_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
        user_us: int
        system_us: int
        max_rss_bytes: int
        def __init__(self, user_us: _Optional[int] = ..., system_us: _Optional[int] = ..., max_rss_bytes: _Optional[int] = ...) -> None: ...
    class EndEvent(_message.Message):
        __slots__ = ("exit_code", "exited", "status", "error", "signal", "core_dumped", "cause", "usage", "exec_failure", "held_by", "output", "started_at", "ended_at")
        EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
        EXITED_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        SIGNAL_FIELD_NUMBER: _ClassVar[int]
        CORE_DUMPED_FIELD_NUMBER: _ClassVar[int]
        CAUSE_FIELD_NUMBER: _ClassVar[int]
        USAGE_FIELD_NUMBER: _ClassVar[int]
        EXEC_FAILURE_FIELD_NUMBER: _ClassVar[int]
        HELD_BY_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_FIELD_NUMBER: _ClassVar[int]
        STARTED_AT_FIELD_NUMBER: _ClassVar[int]
        ENDED_AT_FIELD_NUMBER: _ClassVar[int]
        exit_code: int
        exited: bool
        status: str
        error: str
        signal: int
        core_dumped: bool
        cause: ProcessEvent.Cause
        usage: ProcessEvent.Usage
        exec_failure: ProcessEvent.ExecFailure
        held_by: _containers.RepeatedScalarFieldContainer[int]
        output: OutputPosition
        started_at: _timestamp_pb2.Timestamp
        ended_at: _timestamp_pb2.Timestamp
        def __init__(self, exit_code: _Optional[int] = ..., exited: _Optional[bool] = ..., status: _Optional[str] = ..., error: _Optional[str] = ..., signal: _Optional[int] = ..., core_dumped: _Optional[bool] = ..., cause: _Optional[_Union[ProcessEvent.Cause, str]] = ..., usage: _Optional[_Union[ProcessEvent.Usage, _Mapping]] = ..., exec_failure: _Optional[_Union[ProcessEvent.ExecFailure, _Mapping]] = ..., held_by: _Optional[_Iterable[int]] = ..., output: _Optional[_Union[OutputPosition, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    class KeepAlive(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    start: ProcessEvent.StartEvent
    data: ProcessEvent.DataEvent
    end: ProcessEvent.EndEvent
    keepalive: ProcessEvent.KeepAlive
    gap: ProcessEvent.GapEvent
    def __init__(self, start: _Optional[_Union[ProcessEvent.StartEvent, _Mapping]] = ..., data: _Optional[_Union[ProcessEvent.DataEvent, _Mapping]] = ..., end: _Optional[_Union[ProcessEvent.EndEvent, _Mapping]] = ..., keepalive: _Optional[_Union[ProcessEvent.KeepAlive, _Mapping]] = ..., gap: _Optional[_Union[ProcessEvent.GapEvent, _Mapping]] = ...) -> None: ...

class StartResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: ProcessEvent
    def __init__(self, event: _Optional[_Union[ProcessEvent, _Mapping]] = ...) -> None: ...

class ConnectRequest(_message.Message):
    __slots__ = ("process", "resume", "event_bytes", "gaps")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    EVENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    process: ProcessSelector
    resume: OutputPosition
    event_bytes: int
    gaps: bool
    def __init__(self, process: _Optional[_Union[ProcessSelector, _Mapping]] = ..., resume: _Optional[_Union[OutputPosition, _Mapping]] = ..., event_bytes: _Optional[int] = ..., gaps: _Optional[bool] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: ProcessEvent
    def __init__(self, event: _Optional[_Union[ProcessEvent, _Mapping]] = ...) -> None: ...

class ProcessInput(_message.Message):
    __slots__ = ("stdin", "pty")
    STDIN_FIELD_NUMBER: _ClassVar[int]
    PTY_FIELD_NUMBER: _ClassVar[int]
    stdin: bytes
    pty: bytes
    def __init__(self, stdin: _Optional[bytes] = ..., pty: _Optional[bytes] = ...) -> None: ...

class SendInputRequest(_message.Message):
    __slots__ = ("process", "input", "idempotency_key")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    process: ProcessSelector
    input: ProcessInput
    idempotency_key: str
    def __init__(self, process: _Optional[_Union[ProcessSelector, _Mapping]] = ..., input: _Optional[_Union[ProcessInput, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class SendInputResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StreamInputRequest(_message.Message):
    __slots__ = ("start", "data", "keepalive")
    class StartEvent(_message.Message):
        __slots__ = ("process",)
        PROCESS_FIELD_NUMBER: _ClassVar[int]
        process: ProcessSelector
        def __init__(self, process: _Optional[_Union[ProcessSelector, _Mapping]] = ...) -> None: ...
    class DataEvent(_message.Message):
        __slots__ = ("input",)
        INPUT_FIELD_NUMBER: _ClassVar[int]
        input: ProcessInput
        def __init__(self, input: _Optional[_Union[ProcessInput, _Mapping]] = ...) -> None: ...
    class KeepAlive(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    start: StreamInputRequest.StartEvent
    data: StreamInputRequest.DataEvent
    keepalive: StreamInputRequest.KeepAlive
    def __init__(self, start: _Optional[_Union[StreamInputRequest.StartEvent, _Mapping]] = ..., data: _Optional[_Union[StreamInputRequest.DataEvent, _Mapping]] = ..., keepalive: _Optional[_Union[StreamInputRequest.KeepAlive, _Mapping]] = ...) -> None: ...

class StreamInputResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SendSignalRequest(_message.Message):
    __slots__ = ("process", "signal", "signal_number", "target")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    process: ProcessSelector
    signal: Signal
    signal_number: int
    target: SignalTarget
    def __init__(self, process: _Optional[_Union[ProcessSelector, _Mapping]] = ..., signal: _Optional[_Union[Signal, str]] = ..., signal_number: _Optional[int] = ..., target: _Optional[_Union[SignalTarget, str]] = ...) -> None: ...

class SendSignalResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CloseStdinRequest(_message.Message):
    __slots__ = ("process",)
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    process: ProcessSelector
    def __init__(self, process: _Optional[_Union[ProcessSelector, _Mapping]] = ...) -> None: ...

class CloseStdinResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProcessSelector(_message.Message):
    __slots__ = ("pid", "tag", "idempotency_key")
    PID_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    pid: int
    tag: str
    idempotency_key: str
    def __init__(self, pid: _Optional[int] = ..., tag: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...
