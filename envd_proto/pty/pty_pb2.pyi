from envd_proto.process import process_pb2 as _process_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OpenRequest(_message.Message):
    __slots__ = ("open", "input")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    open: Opening
    input: Input
    def __init__(self, open: _Optional[_Union[Opening, _Mapping]] = ..., input: _Optional[_Union[Input, _Mapping]] = ...) -> None: ...

class OpenResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class AttachRequest(_message.Message):
    __slots__ = ("attach", "input")
    ATTACH_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    attach: Attachment
    input: Input
    def __init__(self, attach: _Optional[_Union[Attachment, _Mapping]] = ..., input: _Optional[_Union[Input, _Mapping]] = ...) -> None: ...

class AttachResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class Opening(_message.Message):
    __slots__ = ("process", "size", "user", "tag", "idempotency_key", "resume_offset", "timeouts", "limits")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    RESUME_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    process: _process_pb2.ProcessConfig
    size: _process_pb2.PTY.Size
    user: str
    tag: str
    idempotency_key: str
    resume_offset: int
    timeouts: _process_pb2.Timeouts
    limits: _process_pb2.Limits
    def __init__(self, process: _Optional[_Union[_process_pb2.ProcessConfig, _Mapping]] = ..., size: _Optional[_Union[_process_pb2.PTY.Size, _Mapping]] = ..., user: _Optional[str] = ..., tag: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., resume_offset: _Optional[int] = ..., timeouts: _Optional[_Union[_process_pb2.Timeouts, _Mapping]] = ..., limits: _Optional[_Union[_process_pb2.Limits, _Mapping]] = ...) -> None: ...

class Attachment(_message.Message):
    __slots__ = ("id", "process", "offset", "last_bytes", "size", "view_only")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAST_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    VIEW_ONLY_FIELD_NUMBER: _ClassVar[int]
    id: str
    process: _process_pb2.ProcessSelector
    offset: int
    last_bytes: int
    size: _process_pb2.PTY.Size
    view_only: bool
    def __init__(self, id: _Optional[str] = ..., process: _Optional[_Union[_process_pb2.ProcessSelector, _Mapping]] = ..., offset: _Optional[int] = ..., last_bytes: _Optional[int] = ..., size: _Optional[_Union[_process_pb2.PTY.Size, _Mapping]] = ..., view_only: _Optional[bool] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("data", "resize", "signal", "keepalive")
    class KeepAlive(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    DATA_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    resize: _process_pb2.PTY.Size
    signal: Signal
    keepalive: Input.KeepAlive
    def __init__(self, data: _Optional[bytes] = ..., resize: _Optional[_Union[_process_pb2.PTY.Size, _Mapping]] = ..., signal: _Optional[_Union[Signal, _Mapping]] = ..., keepalive: _Optional[_Union[Input.KeepAlive, _Mapping]] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("number", "target")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    number: int
    target: _process_pb2.SignalTarget
    def __init__(self, number: _Optional[int] = ..., target: _Optional[_Union[_process_pb2.SignalTarget, str]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("start", "output", "gap", "exit", "resized", "keepalive")
    class StartEvent(_message.Message):
        __slots__ = ("id", "pid", "size", "offset", "live_offset", "driving", "existing")
        ID_FIELD_NUMBER: _ClassVar[int]
        PID_FIELD_NUMBER: _ClassVar[int]
        SIZE_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        LIVE_OFFSET_FIELD_NUMBER: _ClassVar[int]
        DRIVING_FIELD_NUMBER: _ClassVar[int]
        EXISTING_FIELD_NUMBER: _ClassVar[int]
        id: str
        pid: int
        size: _process_pb2.PTY.Size
        offset: int
        live_offset: int
        driving: bool
        existing: bool
        def __init__(self, id: _Optional[str] = ..., pid: _Optional[int] = ..., size: _Optional[_Union[_process_pb2.PTY.Size, _Mapping]] = ..., offset: _Optional[int] = ..., live_offset: _Optional[int] = ..., driving: _Optional[bool] = ..., existing: _Optional[bool] = ...) -> None: ...
    class OutputEvent(_message.Message):
        __slots__ = ("data", "offset")
        DATA_FIELD_NUMBER: _ClassVar[int]
        OFFSET_FIELD_NUMBER: _ClassVar[int]
        data: bytes
        offset: int
        def __init__(self, data: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...
    class GapEvent(_message.Message):
        __slots__ = ("begin", "end")
        BEGIN_FIELD_NUMBER: _ClassVar[int]
        END_FIELD_NUMBER: _ClassVar[int]
        begin: int
        end: int
        def __init__(self, begin: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...
    class ResizedEvent(_message.Message):
        __slots__ = ("size", "driving")
        SIZE_FIELD_NUMBER: _ClassVar[int]
        DRIVING_FIELD_NUMBER: _ClassVar[int]
        size: _process_pb2.PTY.Size
        driving: bool
        def __init__(self, size: _Optional[_Union[_process_pb2.PTY.Size, _Mapping]] = ..., driving: _Optional[bool] = ...) -> None: ...
    class KeepAlive(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    RESIZED_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    start: Event.StartEvent
    output: Event.OutputEvent
    gap: Event.GapEvent
    exit: _process_pb2.ProcessEvent.EndEvent
    resized: Event.ResizedEvent
    keepalive: Event.KeepAlive
    def __init__(self, start: _Optional[_Union[Event.StartEvent, _Mapping]] = ..., output: _Optional[_Union[Event.OutputEvent, _Mapping]] = ..., gap: _Optional[_Union[Event.GapEvent, _Mapping]] = ..., exit: _Optional[_Union[_process_pb2.ProcessEvent.EndEvent, _Mapping]] = ..., resized: _Optional[_Union[Event.ResizedEvent, _Mapping]] = ..., keepalive: _Optional[_Union[Event.KeepAlive, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("include_finished",)
    INCLUDE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    include_finished: bool
    def __init__(self, include_finished: _Optional[bool] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("terminals",)
    TERMINALS_FIELD_NUMBER: _ClassVar[int]
    terminals: _containers.RepeatedCompositeFieldContainer[TerminalInfo]
    def __init__(self, terminals: _Optional[_Iterable[_Union[TerminalInfo, _Mapping]]] = ...) -> None: ...

class TerminalInfo(_message.Message):
    __slots__ = ("id", "process", "size", "kept_from", "output_end", "viewers", "driven")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    KEPT_FROM_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_END_FIELD_NUMBER: _ClassVar[int]
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    DRIVEN_FIELD_NUMBER: _ClassVar[int]
    id: str
    process: _process_pb2.ProcessInfo
    size: _process_pb2.PTY.Size
    kept_from: int
    output_end: int
    viewers: int
    driven: bool
    def __init__(self, id: _Optional[str] = ..., process: _Optional[_Union[_process_pb2.ProcessInfo, _Mapping]] = ..., size: _Optional[_Union[_process_pb2.PTY.Size, _Mapping]] = ..., kept_from: _Optional[int] = ..., output_end: _Optional[int] = ..., viewers: _Optional[int] = ..., driven: _Optional[bool] = ...) -> None: ...
