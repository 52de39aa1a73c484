"""Every RPC over every wire: an answer, and an error, arrive as they were meant.

What an RPC does is tested over one wire, in the modules that are named after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from envd_proto.filesystem import archive_pb2 as archive
from envd_proto.filesystem import filesystem_pb2 as fs
from envd_proto.filesystem import search_pb2 as search
from envd_proto.filesystem import uploads_pb2 as uploads
from envd_proto.process import process_pb2 as process
from envd_proto.pty import pty_pb2 as pty
from envd_proto.system import system_pb2 as system
from tests.support.archives import entry, tar
from tests.support.daemon import Daemon
from tests.support.process import NO_PID, Processes, pid, start_request
from tests.support.system import REFUSED, post_init
from tests.support.uploads import Uploads
from tests.support.wires import OpenWire, RpcError, Wire

pytestmark = pytest.mark.every_wire

TOKEN = "t0ken"
CONTENT = b"content\n"
# Its path is where nothing is; its ids are nobody's.
NOWHERE = "/nowhere/at/all"
NO_ID = "0" * 32
# Both sides of these speak at once, which not every wire can: integration/test_pty.py has them on each that can.
BIDIRECTIONAL = {"pty.Pty/Open", "pty.Pty/Attach"}
SERVICES = [
    fs.DESCRIPTOR.services_by_name["Filesystem"],
    process.DESCRIPTOR.services_by_name["Process"],
    pty.DESCRIPTOR.services_by_name["Pty"],
    system.DESCRIPTOR.services_by_name["System"],
]
METHODS: dict[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods
}


@dataclass(frozen=True, slots=True)
class World:
    """What the requests are about.

    Attributes:
        file: holds CONTENT; the directory around it has nothing else.
        pid: of a program that copies its input to its output.
    """

    file: Path
    pid: int
    upload_id: str
    watcher_id: str

    def path(self, name: str = "") -> str:
        return str(self.file.parent / name)

    @property
    def selection(self) -> search.Selection:
        return search.Selection(path=self.path())

    @property
    def process(self) -> process.ProcessSelector:
        return pid(self.pid)


@pytest.fixture
async def world(wire: Wire, tmp_path: Path) -> AsyncIterator[World]:
    file = tmp_path / "world" / "file"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    async with Processes(wire).start(start_request("cat", stdin=True)) as running:
        upload_id = await Uploads(wire).new(tmp_path / "upload")
        watching = fs.CreateWatcherRequest(path=str(file.parent))
        watcher_id = (await one(wire, "filesystem.Filesystem/CreateWatcher", watching)).watcher_id
        yield World(file, running.pid, upload_id, watcher_id)
        for method, request in (
            ("RemoveWatcher", fs.RemoveWatcherRequest(watcher_id=watcher_id)),
            ("AbortUpload", uploads.AbortUploadRequest(upload_id=upload_id)),
        ):
            # The test may have done so.
            with suppress(RpcError):
                await one(wire, f"filesystem.Filesystem/{method}", request)


async def one(wire: Wire, method: str, *requests: Message) -> Any:
    """Call; the answer, the first one where it is a stream."""
    described = METHODS[method]
    response: type[Message] = GetMessageClass(described.output_type)
    if described.client_streaming:
        return await wire.client_stream(method, list(requests), response)
    if not described.server_streaming:
        return await wire.unary(method, requests[0], response)
    async with wire.server_stream(method, requests[0], response) as incoming:
        return await anext(incoming)


def archived(world: World) -> list[Message]:
    options = archive.ExtractRequest.Options(path=world.path("extracted"))
    data = tar(entry("a", CONTENT))
    return [archive.ExtractRequest(options=options), archive.ExtractRequest(chunk=data)]


def written(path: str) -> list[Message]:
    return [fs.WriteRequest(options=fs.WriteRequest.Options(path=path)), fs.WriteRequest(chunk=CONTENT)]


def part(upload_id: str) -> list[Message]:
    return [
        uploads.WritePartRequest(start=uploads.WritePartRequest.Start(upload_id=upload_id)),
        uploads.WritePartRequest(chunk=CONTENT),
    ]


def typed(selector: process.ProcessSelector) -> list[Message]:
    data = process.StreamInputRequest.DataEvent(input=process.ProcessInput(stdin=CONTENT))
    start = process.StreamInputRequest.StartEvent(process=selector)
    return [process.StreamInputRequest(start=start), process.StreamInputRequest(data=data)]


SIZE = process.PTY(size=process.PTY.Size(cols=80, rows=24))
PATTERN = search.Pattern(text="content")
NO_PROCESS = pid(NO_PID)

# What is asked for, and what holds for the answer.
Success = tuple[Callable[[World], Message | list[Message]], Callable[[Any, World], object]]
FILESYSTEM: dict[str, Success] = {
    "Stat": (lambda w: fs.StatRequest(path=str(w.file)), lambda a, w: a.entry.size == len(CONTENT)),
    "MakeDir": (lambda w: fs.MakeDirRequest(path=w.path("made")), lambda a, w: Path(a.entry.path).is_dir()),
    "Move": (
        lambda w: fs.MoveRequest(source=str(w.file), destination=w.path("moved")),
        lambda a, w: a.entry.name == "moved" and not w.file.exists(),
    ),
    "ListDir": (lambda w: fs.ListDirRequest(path=w.path()), lambda a, w: [e.name for e in a.entries] == ["file"]),
    "Remove": (lambda w: fs.RemoveRequest(path=str(w.file)), lambda a, w: not w.file.exists()),
    "WatchDir": (lambda w: fs.WatchDirRequest(path=w.path()), lambda a, w: a.HasField("start")),
    "CreateWatcher": (lambda w: fs.CreateWatcherRequest(path=w.path()), lambda a, w: a.watcher_id),
    "GetWatcherEvents": (
        lambda w: fs.GetWatcherEventsRequest(watcher_id=w.watcher_id),
        lambda a, w: not a.events and not a.overflowed,
    ),
    "RemoveWatcher": (lambda w: fs.RemoveWatcherRequest(watcher_id=w.watcher_id), lambda a, w: True),
    "Read": (lambda w: fs.ReadRequest(path=str(w.file)), lambda a, w: a.start.length == len(CONTENT)),
    "Write": (
        lambda w: written(w.path("new")),
        lambda a, w: a.created and Path(w.path("new")).read_bytes() == CONTENT,
    ),
    "WriteFile": (
        lambda w: fs.WriteFileRequest(options=fs.WriteRequest.Options(path=w.path("new")), content=CONTENT),
        lambda a, w: a.created and Path(w.path("new")).read_bytes() == CONTENT,
    ),
    "ListEntries": (
        lambda w: fs.ListEntriesRequest(path=w.path()),
        lambda a, w: [e.name for e in a.entries] == ["file"],
    ),
    "Copy": (
        lambda w: fs.CopyRequest(source=str(w.file), destination=w.path("copy")),
        lambda a, w: a.bytes == len(CONTENT) and Path(w.path("copy")).read_bytes() == CONTENT,
    ),
    "SetAttributes": (
        lambda w: fs.SetAttributesRequest(path=str(w.file), mode=0o600),
        lambda a, w: w.file.stat().st_mode & 0o777 == 0o600,
    ),
    "MakeSymlink": (
        lambda w: fs.MakeSymlinkRequest(path=w.path("link"), target="file"),
        lambda a, w: Path(w.path("link")).read_bytes() == CONTENT,
    ),
    "CreateUpload": (lambda w: uploads.CreateUploadRequest(path=w.path("sent")), lambda a, w: not a.existing),
    "WritePart": (lambda w: part(w.upload_id), lambda a, w: a.contiguous_bytes == len(CONTENT)),
    "GetUpload": (
        lambda w: uploads.GetUploadRequest(upload_id=w.upload_id),
        lambda a, w: a.upload.id == w.upload_id,
    ),
    "ListUploads": (
        lambda w: uploads.ListUploadsRequest(),
        lambda a, w: w.upload_id in [upload.id for upload in a.uploads],
    ),
    "CommitUpload": (lambda w: uploads.CommitUploadRequest(upload_id=w.upload_id), lambda a, w: a.created),
    "AbortUpload": (lambda w: uploads.AbortUploadRequest(upload_id=w.upload_id), lambda a, w: True),
    "Find": (lambda w: search.FindRequest(selection=w.selection), lambda a, w: [e.name for e in a.entries] == ["file"]),
    "Grep": (
        lambda w: search.GrepRequest(selection=w.selection, pattern=PATTERN),
        lambda a, w: [line.text for file in a.files for line in file.lines] == ["content"],
    ),
    "Replace": (
        lambda w: search.ReplaceRequest(selection=w.selection, pattern=PATTERN, replacement="more"),
        lambda a, w: a.files_changed == 1 and w.file.read_bytes() == b"more\n",
    ),
    "ReadLines": (
        lambda w: search.ReadLinesRequest(path=str(w.file)),
        lambda a, w: a.text == "content\n",
    ),
    "Archive": (lambda w: archive.ArchiveRequest(path=w.path()), lambda a, w: a.HasField("start")),
    "Extract": (archived, lambda a, w: a.entries == 1 and Path(w.path("extracted/a")).read_bytes() == CONTENT),
}
PROCESS: dict[str, Success] = {
    "List": (lambda w: process.ListRequest(), lambda a, w: w.pid in [program.pid for program in a.processes]),
    "Connect": (lambda w: process.ConnectRequest(process=w.process), lambda a, w: a.event.start.pid == w.pid),
    "Start": (lambda w: start_request("true"), lambda a, w: a.event.start.pid),
    "Update": (lambda w: process.UpdateRequest(process=w.process), lambda a, w: True),
    "StreamInput": (lambda w: typed(w.process), lambda a, w: True),
    "SendInput": (
        lambda w: process.SendInputRequest(process=w.process, input=process.ProcessInput(stdin=CONTENT)),
        lambda a, w: True,
    ),
    "SendSignal": (
        lambda w: process.SendSignalRequest(process=w.process, signal=process.SIGNAL_SIGTERM),
        lambda a, w: True,
    ),
    "CloseStdin": (lambda w: process.CloseStdinRequest(process=w.process), lambda a, w: True),
}
SYSTEM: dict[str, Success] = {
    "Info": (lambda w: system.InfoRequest(), lambda a, w: a.version),
    "Init": (lambda w: system.InitRequest(), lambda a, w: a.applied),
    "Metrics": (lambda w: system.MetricsRequest(), lambda a, w: a.mem_total),
    "Envs": (lambda w: system.EnvsRequest(), lambda a, w: True),
}
SUCCESSES: dict[str, Success] = {
    **{f"filesystem.Filesystem/{name}": case for name, case in FILESYSTEM.items()},
    **{f"process.Process/{name}": case for name, case in PROCESS.items()},
    **{f"system.System/{name}": case for name, case in SYSTEM.items()},
    "pty.Pty/List": (lambda w: pty.ListRequest(), lambda a, w: not a.terminals),
}

NOT_FOUND: dict[str, Message | list[Message]] = {
    **{
        f"filesystem.Filesystem/{name}": request
        for name, request in {
            "Stat": fs.StatRequest(path=NOWHERE),
            "Move": fs.MoveRequest(source=NOWHERE, destination="/tmp/elsewhere"),
            "ListDir": fs.ListDirRequest(path=NOWHERE),
            "WatchDir": fs.WatchDirRequest(path=NOWHERE),
            "CreateWatcher": fs.CreateWatcherRequest(path=NOWHERE),
            "GetWatcherEvents": fs.GetWatcherEventsRequest(watcher_id=NO_ID),
            "RemoveWatcher": fs.RemoveWatcherRequest(watcher_id=NO_ID),
            "Read": fs.ReadRequest(path=NOWHERE),
            "ListEntries": fs.ListEntriesRequest(path=NOWHERE),
            "Copy": fs.CopyRequest(source=NOWHERE, destination="/tmp/elsewhere"),
            "SetAttributes": fs.SetAttributesRequest(path=NOWHERE, mode=0o600),
            "WritePart": part(NO_ID),
            "GetUpload": uploads.GetUploadRequest(upload_id=NO_ID),
            "CommitUpload": uploads.CommitUploadRequest(upload_id=NO_ID),
            "AbortUpload": uploads.AbortUploadRequest(upload_id=NO_ID),
            "Find": search.FindRequest(selection=search.Selection(path=NOWHERE)),
            "Grep": search.GrepRequest(selection=search.Selection(path=NOWHERE), pattern=PATTERN),
            "Replace": search.ReplaceRequest(selection=search.Selection(path=NOWHERE), pattern=PATTERN),
            "ReadLines": search.ReadLinesRequest(path=NOWHERE),
            "Archive": archive.ArchiveRequest(path=NOWHERE),
        }.items()
    },
    "process.Process/Connect": process.ConnectRequest(process=NO_PROCESS),
    "process.Process/Update": process.UpdateRequest(process=NO_PROCESS, pty=SIZE),
    "process.Process/StreamInput": typed(NO_PROCESS),
    "process.Process/SendInput": process.SendInputRequest(
        process=NO_PROCESS, input=process.ProcessInput(stdin=CONTENT)
    ),
    "process.Process/SendSignal": process.SendSignalRequest(process=NO_PROCESS, signal=process.SIGNAL_SIGTERM),
    "process.Process/CloseStdin": process.CloseStdinRequest(process=NO_PROCESS),
}
# A path below a file, a directory that is not there.
INVALID: dict[str, Message | list[Message]] = {
    "filesystem.Filesystem/MakeDir": fs.MakeDirRequest(path="/etc/passwd/made"),
    "filesystem.Filesystem/MakeSymlink": fs.MakeSymlinkRequest(path="/etc/passwd/link", target="file"),
    "filesystem.Filesystem/Write": written("/etc/passwd/new"),
    "filesystem.Filesystem/WriteFile": fs.WriteFileRequest(options=fs.WriteRequest.Options(path="/etc/passwd/new")),
    "filesystem.Filesystem/CreateUpload": uploads.CreateUploadRequest(path="/etc/passwd/new"),
    "filesystem.Filesystem/Extract": [
        archive.ExtractRequest(options=archive.ExtractRequest.Options(path="/etc/passwd/new"))
    ],
    "filesystem.Filesystem/Remove": fs.RemoveRequest(path="/etc/passwd/gone"),
    "process.Process/Start": start_request("true", cwd=NOWHERE),
}
UNIMPLEMENTED: dict[str, Message | list[Message]] = {
    "system.System/Freeze": system.FreezeRequest(),
    "system.System/Thaw": system.ThawRequest(),
}
# What asks for nothing can only be refused as a whole.
UNAUTHENTICATED: dict[str, Message | list[Message]] = {
    "filesystem.Filesystem/ListUploads": uploads.ListUploadsRequest(),
    "process.Process/List": process.ListRequest(),
    "pty.Pty/List": pty.ListRequest(),
    "system.System/Info": system.InfoRequest(),
    "system.System/Init": system.InitRequest(access_token="another"),
    "system.System/Metrics": system.MetricsRequest(),
    "system.System/Envs": system.EnvsRequest(),
}
FAILURES = {
    method: (request, code)
    for code, requests in {
        "not_found": NOT_FOUND,
        "invalid_argument": INVALID,
        "unimplemented": UNIMPLEMENTED,
    }.items()
    for method, request in requests.items()
}


def several(given: Message | list[Message]) -> list[Message]:
    return given if isinstance(given, list) else [given]


def test_no_rpc_is_left_out():
    assert set(SUCCESSES) | set(UNIMPLEMENTED) | BIDIRECTIONAL == set(METHODS)
    assert set(FAILURES) | set(UNAUTHENTICATED) | BIDIRECTIONAL == set(METHODS)


@pytest.mark.parametrize("method", SUCCESSES)
async def test_an_answer_arrives(wire: Wire, world: World, method: str):
    request, holds = SUCCESSES[method]
    answer = await one(wire, method, *several(request(world)))
    assert holds(answer, world), answer


@pytest.mark.parametrize("method", FAILURES)
async def test_an_error_arrives(wire: Wire, method: str):
    request, code = FAILURES[method]
    with pytest.raises(RpcError) as refused:
        await one(wire, method, *several(request))
    assert refused.value.code == code, refused.value
    assert refused.value.message


@pytest.fixture(scope="module")
def guarded() -> Iterator[Daemon]:
    """A daemon whose token is TOKEN."""
    started = Daemon.start()
    yield started
    started.stop()


@pytest.mark.parametrize("method", UNAUTHENTICATED)
async def test_a_call_without_the_token_is_refused(guarded: Daemon, open_wire: OpenWire, method: str):
    assert (await post_init(guarded.port, {"accessToken": TOKEN})).status == 204
    async with open_wire(guarded.port) as wire:
        with pytest.raises(RpcError) as refused:
            await one(wire, method, *several(UNAUTHENTICATED[method]))
    assert refused.value.code == "unauthenticated", refused.value
    assert REFUSED in refused.value.message or method == "system.System/Init"
