"""The contract keeps E2B's names and numbers, adds above 1000, and says what everything means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor as F

from envd_proto.filesystem import archive_pb2, filesystem_pb2, search_pb2, uploads_pb2
from envd_proto.process import process_pb2
from envd_proto.pty import pty_pb2
from envd_proto.system import system_pb2

ROOT = Path(__file__).resolve().parents[2]
OURS = (archive_pb2, search_pb2, uploads_pb2)
FILES = [m.DESCRIPTOR for m in (filesystem_pb2, process_pb2, pty_pb2, system_pb2, *OURS)]
OURS_BEGIN = 1000

# E2B's published contract: message -> "name=number type", where `?` means optional, `[]` repeated and `a|` a member of
# oneof a. A message type stands with its name in its package.
MESSAGES = {
    "filesystem": {
        "MoveRequest": "source=1 string, destination=2 string",
        "MoveResponse": "entry=1 EntryInfo",
        "MakeDirRequest": "path=1 string",
        "MakeDirResponse": "entry=1 EntryInfo",
        "RemoveRequest": "path=1 string",
        "RemoveResponse": "",
        "StatRequest": "path=1 string",
        "StatResponse": "entry=1 EntryInfo",
        "EntryInfo": (
            "name=1 string, type=2 FileType, path=3 string, size=4 int64, mode=5 uint32, permissions=6 string, "
            "owner=7 string, group=8 string, modified_time=9 google.protobuf.Timestamp, symlink_target=10 string?, "
            "metadata=11 map<string,string>"
        ),
        "ListDirRequest": "path=1 string, depth=2 uint32",
        "ListDirResponse": "entries=1 EntryInfo[]",
        "WatchDirRequest": "path=1 string, recursive=2 bool, include_entry=3 bool, allow_network_mounts=4 bool",
        "FilesystemEvent": "name=1 string, type=2 EventType, entry=3 EntryInfo?",
        "WatchDirResponse": (
            "start=1 event|WatchDirResponse.StartEvent, filesystem=2 event|FilesystemEvent, "
            "keepalive=3 event|WatchDirResponse.KeepAlive"
        ),
        "WatchDirResponse.StartEvent": "",
        "WatchDirResponse.KeepAlive": "",
        "CreateWatcherRequest": "path=1 string, recursive=2 bool, include_entry=3 bool, allow_network_mounts=4 bool",
        "CreateWatcherResponse": "watcher_id=1 string",
        "GetWatcherEventsRequest": "watcher_id=1 string",
        "GetWatcherEventsResponse": "events=1 FilesystemEvent[]",
        "RemoveWatcherRequest": "watcher_id=1 string",
        "RemoveWatcherResponse": "",
    },
    "process": {
        "PTY": "size=1 PTY.Size",
        "PTY.Size": "cols=1 uint32, rows=2 uint32",
        "ProcessConfig": "cmd=1 string, args=2 string[], envs=3 map<string,string>, cwd=4 string?",
        "ListRequest": "",
        "ProcessInfo": "config=1 ProcessConfig, pid=2 uint32, tag=3 string?",
        "ListResponse": "processes=1 ProcessInfo[]",
        "StartRequest": "process=1 ProcessConfig, pty=2 PTY?, tag=3 string?, stdin=4 bool?",
        "UpdateRequest": "process=1 ProcessSelector, pty=2 PTY?",
        "UpdateResponse": "",
        "ProcessEvent": (
            "start=1 event|ProcessEvent.StartEvent, data=2 event|ProcessEvent.DataEvent, "
            "end=3 event|ProcessEvent.EndEvent, keepalive=4 event|ProcessEvent.KeepAlive"
        ),
        "ProcessEvent.StartEvent": "pid=1 uint32",
        "ProcessEvent.DataEvent": "stdout=1 output|bytes, stderr=2 output|bytes, pty=3 output|bytes",
        "ProcessEvent.EndEvent": "exit_code=1 sint32, exited=2 bool, status=3 string, error=4 string?",
        "ProcessEvent.KeepAlive": "",
        "StartResponse": "event=1 ProcessEvent",
        "ConnectRequest": "process=1 ProcessSelector",
        "ConnectResponse": "event=1 ProcessEvent",
        "SendInputRequest": "process=1 ProcessSelector, input=2 ProcessInput",
        "SendInputResponse": "",
        "ProcessInput": "stdin=1 input|bytes, pty=2 input|bytes",
        "StreamInputRequest": (
            "start=1 event|StreamInputRequest.StartEvent, data=2 event|StreamInputRequest.DataEvent, "
            "keepalive=3 event|StreamInputRequest.KeepAlive"
        ),
        "StreamInputRequest.StartEvent": "process=1 ProcessSelector",
        "StreamInputRequest.DataEvent": "input=2 ProcessInput",
        "StreamInputRequest.KeepAlive": "",
        "StreamInputResponse": "",
        "SendSignalRequest": "process=1 ProcessSelector, signal=2 Signal",
        "SendSignalResponse": "",
        "CloseStdinRequest": "process=1 ProcessSelector",
        "CloseStdinResponse": "",
        "ProcessSelector": "pid=1 selector|uint32, tag=2 selector|string",
    },
}
ENUMS = {
    "filesystem.FileType": "FILE_TYPE_UNSPECIFIED=0 FILE_TYPE_FILE=1 FILE_TYPE_DIRECTORY=2 FILE_TYPE_SYMLINK=3",
    "filesystem.EventType": (
        "EVENT_TYPE_UNSPECIFIED=0 EVENT_TYPE_CREATE=1 EVENT_TYPE_WRITE=2 EVENT_TYPE_REMOVE=3 EVENT_TYPE_RENAME=4 "
        "EVENT_TYPE_CHMOD=5"
    ),
    "process.Signal": "SIGNAL_UNSPECIFIED=0 SIGNAL_SIGKILL=9 SIGNAL_SIGTERM=15",
}
# A method that takes or answers a stream has `stream` on that side.
METHODS = {
    "filesystem.Filesystem": {
        "Stat": "StatRequest -> StatResponse",
        "MakeDir": "MakeDirRequest -> MakeDirResponse",
        "Move": "MoveRequest -> MoveResponse",
        "ListDir": "ListDirRequest -> ListDirResponse",
        "Remove": "RemoveRequest -> RemoveResponse",
        "WatchDir": "WatchDirRequest -> stream WatchDirResponse",
        "CreateWatcher": "CreateWatcherRequest -> CreateWatcherResponse",
        "GetWatcherEvents": "GetWatcherEventsRequest -> GetWatcherEventsResponse",
        "RemoveWatcher": "RemoveWatcherRequest -> RemoveWatcherResponse",
    },
    "process.Process": {
        "List": "ListRequest -> ListResponse",
        "Connect": "ConnectRequest -> stream ConnectResponse",
        "Start": "StartRequest -> stream StartResponse",
        "Update": "UpdateRequest -> UpdateResponse",
        "StreamInput": "stream StreamInputRequest -> StreamInputResponse",
        "SendInput": "SendInputRequest -> SendInputResponse",
        "SendSignal": "SendSignalRequest -> SendSignalResponse",
        "CloseStdin": "CloseStdinRequest -> CloseStdinResponse",
    },
}
SCALARS = {
    F.TYPE_STRING: "string",
    F.TYPE_BYTES: "bytes",
    F.TYPE_BOOL: "bool",
    F.TYPE_UINT32: "uint32",
    F.TYPE_INT64: "int64",
    F.TYPE_SINT32: "sint32",
}


def messages_of(container):
    """Every message of a file, nested ones included, but not the entries protobuf makes for maps."""
    nested = container.nested_types if hasattr(container, "nested_types") else container.message_types_by_name.values()
    for message in nested:
        if not message.GetOptions().map_entry:
            yield message
            yield from messages_of(message)


def enums_of(file):
    return [*file.enum_types_by_name.values(), *(e for m in messages_of(file) for e in m.enum_types)]


def local_name(descriptor):
    package = descriptor.file.package
    return descriptor.full_name.removeprefix(f"{package}.")


def type_text(field):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[side] for side in ("key", "value"))
        return f"map<{type_text(key)},{type_text(value)}>"
    named = field.message_type or field.enum_type
    text = local_name(named) if named is not None else SCALARS.get(field.type, "another")
    if named is not None and named.file.package == "google.protobuf":
        text = named.full_name
    oneof = field.containing_oneof
    if oneof is not None and oneof.name == f"_{field.name}":
        return f"{text}?"
    if oneof is not None:
        return f"{oneof.name}|{text}"
    return f"{text}[]" if field.is_repeated else text


def fields_text(message):
    fields = (field for field in message.fields if field.number < OURS_BEGIN)
    return ", ".join(f"{f.name}={f.number} {type_text(f)}" for f in sorted(fields, key=lambda f: f.number))


E2B_MESSAGES = [
    pytest.param(package, name, fields, id=f"{package}.{name}")
    for package, table in MESSAGES.items()
    for name, fields in table.items()
]


def descriptor_of(package, name):
    file = next(file for file in FILES if file.package == package)
    return next((m for m in messages_of(file) if local_name(m) == name), None)


@pytest.mark.parametrize(("package", "name", "fields"), E2B_MESSAGES)
def test_a_message_has_e2b_s_fields_and_below_1000_no_others(package, name, fields):
    message = descriptor_of(package, name)
    assert message is not None, f"{package}.{name} is missing"
    assert fields_text(message) == fields


@pytest.mark.parametrize("full_name", ENUMS)
def test_an_enum_has_e2b_s_values(full_name):
    enum = next(e for file in FILES for e in enums_of(file) if e.full_name == full_name)
    values = [f"{v.name}={v.number}" for v in enum.values if v.number < OURS_BEGIN]
    assert " ".join(values) == ENUMS[full_name]


@pytest.mark.parametrize("full_name", METHODS)
def test_a_service_has_e2b_s_methods(full_name):
    service = next(s for file in FILES for s in file.services_by_name.values() if s.full_name == full_name)
    found = {
        m.name: (
            f"{'stream ' * m.client_streaming}{local_name(m.input_type)} -> "
            f"{'stream ' * m.server_streaming}{local_name(m.output_type)}"
        )
        for m in service.methods
    }
    assert {name: found.get(name) for name in METHODS[full_name]} == METHODS[full_name]


DECLARATION = re.compile(r"\s*(?:(?:message|enum|service|rpc) \w|[\w.<>, ]+ = \d+;$)")


def declarations(text):
    """(line number, line, the line before it) of every message, field, enum, enum value, service and RPC."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if DECLARATION.match(line):
            yield number, line, lines[number - 2]


def declared_count(file):
    messages = list(messages_of(file))
    enums = enums_of(file)
    services = file.services_by_name.values()
    return sum(
        [
            len(messages) + sum(len(m.fields) for m in messages),
            len(enums) + sum(len(e.values) for e in enums),
            len(services) + sum(len(s.methods) for s in services),
        ]
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_everything_declared_is_preceded_by_a_comment(file):
    path = ROOT / file.name.replace("envd_proto/", "proto/", 1)
    found = list(declarations(path.read_text()))
    # A declaration in a form the pattern does not know would otherwise go unchecked.
    assert len(found) == declared_count(file)
    bare = [
        f"{path.name}:{number}: {line.strip()}" for number, line, before in found if not before.strip().startswith("//")
    ]
    assert bare == []
