"""Converts the contract's messages to the SDK's types and back. No network in here."""

from __future__ import annotations

from datetime import UTC
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_proto.filesystem import search_pb2 as search
from envd_proto.process import process_pb2 as pb
from envd_proto.pty import pty_pb2 as pty
from envd_sdk.entries import EntryInfo, FilesystemEvent, FilesystemEventType, FileType, WriteInfo
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.results import OutputPosition, ProcessInfo, PtySize, TerminalInfo

_TYPES = {
    fs.FILE_TYPE_FILE: FileType.FILE,
    fs.FILE_TYPE_DIRECTORY: FileType.DIR,
    fs.FILE_TYPE_SYMLINK: FileType.SYMLINK,
}
_EVENTS = {
    fs.EVENT_TYPE_CREATE: FilesystemEventType.CREATE,
    fs.EVENT_TYPE_WRITE: FilesystemEventType.WRITE,
    fs.EVENT_TYPE_REMOVE: FilesystemEventType.REMOVE,
    fs.EVENT_TYPE_RENAME: FilesystemEventType.RENAME,
    fs.EVENT_TYPE_CHMOD: FilesystemEventType.CHMOD,
}


def microseconds_from(message: Timestamp) -> int:
    return int(message.seconds) * 1_000_000 + int(message.nanos) // 1000


def selector(pid: int | None, tag: str | None, key: str | None) -> pb.ProcessSelector:
    """Return the selector of a command.

    Raises:
        InvalidArgumentException: none is named, or several are.
    """
    if sum(value is not None for value in (pid, tag, key)) != 1:
        raise InvalidArgumentException("name the command by one of pid, tag and idempotency_key")
    if pid is not None:
        return by_pid(pid)
    return pb.ProcessSelector(tag=tag) if tag is not None else pb.ProcessSelector(idempotency_key=key)


def position_message(position: OutputPosition) -> pb.OutputPosition:
    return pb.OutputPosition(stdout=position.stdout, stderr=position.stderr, pty=position.pty)


def entry_from(message: fs.EntryInfo) -> EntryInfo:
    return EntryInfo(
        name=message.name,
        type=_TYPES.get(message.type),
        path=message.path,
        metadata=dict(message.metadata),
        size=message.size,
        mode=message.mode,
        permissions=message.permissions,
        owner=message.owner,
        group=message.group,
        modified_time=message.modified_time.ToDatetime(UTC) if message.HasField("modified_time") else None,
        symlink_target=message.symlink_target if message.HasField("symlink_target") else None,
        etag=message.etag,
        raw_path=raw_path(message),
    )


def raw_path(message: fs.EntryInfo | search.GrepFile | search.ReplacedFile | search.Skipped) -> bytes | None:
    """The bytes of a path that is not UTF-8."""
    return message.raw_path if message.HasField("raw_path") else None


def write_info_from(message: fs.EntryInfo) -> WriteInfo:
    kind, metadata = _TYPES.get(message.type), dict(message.metadata)
    return WriteInfo(message.name, kind, message.path, metadata=metadata, raw_path=raw_path(message))


def event_from(message: fs.FilesystemEvent) -> FilesystemEvent | None:
    """None for a kind this SDK does not know."""
    kind = _EVENTS.get(message.type)
    if kind is None:
        return None
    entry = entry_from(message.entry) if message.HasField("entry") else None
    return FilesystemEvent(message.name, kind, entry, message.raw_name if message.HasField("raw_name") else None)


def process_from(message: pb.ProcessInfo) -> ProcessInfo:
    config = message.config
    return ProcessInfo(
        pid=message.pid,
        cmd=config.cmd,
        tag=message.tag if message.HasField("tag") else None,
        args=list(config.args),
        envs=dict(config.envs),
        cwd=config.cwd if config.HasField("cwd") else None,
        user=message.user,
        exit_code=message.end.exit_code if message.HasField("end") else None,
    )


def terminal_from(message: pty.TerminalInfo) -> TerminalInfo:
    return TerminalInfo(
        terminal_id=message.id,
        pid=message.process.pid,
        size=PtySize(rows=message.size.rows, cols=message.size.cols),
        kept_from=message.kept_from,
        output_end=message.output_end,
        exit_code=message.process.end.exit_code if message.process.HasField("end") else None,
    )


def by_pid(pid: int) -> pb.ProcessSelector:
    return pb.ProcessSelector(pid=pid)


def size_from(size: PtySize) -> pb.PTY:
    return pb.PTY(size=pb.PTY.Size(cols=size.cols, rows=size.rows))


def text(value: object, *, what: str) -> str:
    """A string argument.

    Raises:
        InvalidArgumentException: it is none. protobuf's own words do not say which.
    """
    if not isinstance(value, str):
        raise InvalidArgumentException(f"{what} is {type(value).__name__}: give a string")
    return value


def input_from(kind: Literal["stdin", "pty"], data: str | bytes) -> pb.ProcessInput:
    if not isinstance(data, str | bytes | bytearray | memoryview):
        raise InvalidArgumentException(f"input is {type(data).__name__}: give text or bytes")
    content = data.encode() if isinstance(data, str) else bytes(data)
    return pb.ProcessInput(stdin=content) if kind == "stdin" else pb.ProcessInput(pty=content)
