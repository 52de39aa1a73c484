"""The RPCs the SDK calls: path, and type of what is answered. Nothing here needs grpc."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from envd_proto.filesystem import archive_pb2 as archive
from envd_proto.filesystem import filesystem_pb2 as fs
from envd_proto.filesystem import search_pb2 as search
from envd_proto.filesystem import uploads_pb2 as uploads
from envd_proto.process import process_pb2 as process
from envd_proto.pty import pty_pb2 as pty

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """One RPC."""

    path: str
    request: type[Request]
    response: type[Response]


def _files(name: str, request: type[Request], response: type[Response]) -> Method[Request, Response]:
    return Method(f"/filesystem.Filesystem/{name}", request, response)


def _process(name: str, request: type[Request], response: type[Response]) -> Method[Request, Response]:
    return Method(f"/process.Process/{name}", request, response)


LIST = _process("List", process.ListRequest, process.ListResponse)
START = _process("Start", process.StartRequest, process.StartResponse)
CONNECT = _process("Connect", process.ConnectRequest, process.ConnectResponse)
UPDATE = _process("Update", process.UpdateRequest, process.UpdateResponse)
SEND_INPUT = _process("SendInput", process.SendInputRequest, process.SendInputResponse)
STREAM_INPUT = _process("StreamInput", process.StreamInputRequest, process.StreamInputResponse)
SEND_SIGNAL = _process("SendSignal", process.SendSignalRequest, process.SendSignalResponse)
CLOSE_STDIN = _process("CloseStdin", process.CloseStdinRequest, process.CloseStdinResponse)

TERMINALS = Method("/pty.Pty/List", pty.ListRequest, pty.ListResponse)

STAT = _files("Stat", fs.StatRequest, fs.StatResponse)
MAKE_DIR = _files("MakeDir", fs.MakeDirRequest, fs.MakeDirResponse)
MOVE = _files("Move", fs.MoveRequest, fs.MoveResponse)
LIST_DIR = _files("ListDir", fs.ListDirRequest, fs.ListDirResponse)
REMOVE = _files("Remove", fs.RemoveRequest, fs.RemoveResponse)
READ = _files("Read", fs.ReadRequest, fs.ReadResponse)
WRITE = _files("Write", fs.WriteRequest, fs.WriteResponse)
WRITE_FILE = _files("WriteFile", fs.WriteFileRequest, fs.WriteResponse)
CREATE_UPLOAD = _files("CreateUpload", uploads.CreateUploadRequest, uploads.CreateUploadResponse)
WRITE_PART = _files("WritePart", uploads.WritePartRequest, uploads.WritePartResponse)
COMMIT_UPLOAD = _files("CommitUpload", uploads.CommitUploadRequest, uploads.CommitUploadResponse)
ABORT_UPLOAD = _files("AbortUpload", uploads.AbortUploadRequest, uploads.AbortUploadResponse)
COPY = _files("Copy", fs.CopyRequest, fs.CopyResponse)
FIND = _files("Find", search.FindRequest, fs.FindResponse)
GREP = _files("Grep", search.GrepRequest, search.GrepResponse)
REPLACE = _files("Replace", search.ReplaceRequest, search.ReplaceResponse)
READ_LINES = _files("ReadLines", search.ReadLinesRequest, search.ReadLinesResponse)
ARCHIVE = _files("Archive", archive.ArchiveRequest, archive.ArchiveResponse)
EXTRACT = _files("Extract", archive.ExtractRequest, archive.ExtractResponse)
CREATE_WATCHER = _files("CreateWatcher", fs.CreateWatcherRequest, fs.CreateWatcherResponse)
GET_WATCHER_EVENTS = _files("GetWatcherEvents", fs.GetWatcherEventsRequest, fs.GetWatcherEventsResponse)
REMOVE_WATCHER = _files("RemoveWatcher", fs.RemoveWatcherRequest, fs.RemoveWatcherResponse)
WATCH_DIR = _files("WatchDir", fs.WatchDirRequest, fs.WatchDirResponse)

# The standard health service, of which only matters here that it answers: Empty ignores what that says.
HEALTH = Method("/grpc.health.v1.Health/Check", Empty, Empty)
