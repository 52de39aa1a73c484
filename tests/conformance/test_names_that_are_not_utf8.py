"""Names that are not UTF-8: what is listed can be used in every call, and nothing else is taken for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from envd_proto.filesystem import archive_pb2 as archive
from envd_proto.filesystem import filesystem_pb2 as pb
from envd_proto.filesystem import search_pb2 as search
from envd_proto.filesystem import uploads_pb2 as uploads
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.files import BOUNDARY, FORM, OCTET
from tests.support.filesystem import Files
from tests.support.http1 import exchange
from tests.support.wires import RpcError, Wire

SERVICE = "filesystem.Filesystem"
SHOWN = "\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def top(tmp_path: Path) -> bytes:
    """A directory in one whose name is not UTF-8."""
    made = os.fsencode(tmp_path) + b"/t\xffp"
    os.mkdir(made)
    return made


@pytest.fixture
def file(top: bytes) -> bytes:
    path = top + b"/f\xfe"
    write(path, b"content\n")
    return path


def write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def shown(path: bytes) -> str:
    return path.decode(errors="replace")


@pytest.fixture
def over_json(daemon: Daemon) -> Files:
    return Files(Client(daemon.port, Codec.JSON))


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


async def test_it_is_described_and_removed_by_its_bytes(wire: Wire, file: bytes):
    request = pb.StatRequest(path=shown(file), raw_path=file)
    entry = (await wire.unary(f"{SERVICE}/Stat", request, pb.StatResponse)).entry
    assert (entry.raw_path, entry.path, entry.name) == (file, shown(file), f"f{SHOWN}")
    await wire.unary(f"{SERVICE}/Remove", pb.RemoveRequest(raw_path=file), pb.RemoveResponse)
    assert not os.path.lexists(file)
    message = await refused(wire.unary(f"{SERVICE}/Stat", pb.StatRequest(raw_path=file), pb.StatResponse), "not_found")
    assert shown(file) in message


async def test_removing_what_is_only_shown_so_is_refused_and_keeps_the_file(over_json: Files, file: bytes):
    message = await refused(over_json.remove(shown(file)), "invalid_argument")
    assert "raw_path" in message
    assert read(file) == b"content\n"
    # What nobody can have meant is removed already, as ever.
    await over_json.remove(os.fsdecode(os.path.dirname(os.path.dirname(file))) + f"/other{SHOWN}")


@pytest.mark.parametrize(
    "call", ["stat", "write", "make_dir", "read", "list_dir", "move", "copy", "link", "set", "watch"]
)
async def test_no_call_takes_another_file_for_one_that_is_only_shown(over_json: Files, top: bytes, file: bytes, call):
    files, path, other = over_json, shown(file), os.fsdecode(os.path.dirname(top)) + "/other"
    before = sorted(os.listdir(top))
    calls = {
        "stat": lambda: files.stat(path),
        "write": lambda: files.write(path, b"new"),
        "make_dir": lambda: files.make_dir(f"{path}/sub"),
        "read": lambda: files.read(path),
        "list_dir": lambda: files.list_dir(shown(top)),
        "move": lambda: files.move(path, other),
        "copy": lambda: files.copy(path, other),
        "link": lambda: files.make_symlink(path, "x", overwrite=True),
        "set": lambda: files.set_attributes(path, mode=0o600),
        "watch": lambda: files.wire.unary(
            f"{SERVICE}/CreateWatcher", pb.CreateWatcherRequest(path=shown(top)), pb.CreateWatcherResponse
        ),
    }
    await refused(calls[call](), "invalid_argument")
    assert (sorted(os.listdir(top)), read(file), os.path.exists(other)) == (before, b"content\n", False)


async def test_a_name_that_has_the_character_itself_is_just_that(over_json: Files, top: bytes, file: bytes):
    exact = file.replace(b"\xfe", SHOWN.encode())
    write(exact, b"exact")
    request = pb.ListDirRequest(raw_path=top)
    entries = (await over_json.wire.unary(f"{SERVICE}/ListDir", request, pb.ListDirResponse)).entries
    assert sorted(entry.raw_path for entry in entries) == sorted([exact, file])
    plain = os.path.dirname(top) + f"/{SHOWN}".encode()
    write(plain, b"plain")
    assert (await over_json.read(plain.decode())).data == b"plain"
    await over_json.remove(plain.decode())
    assert not os.path.exists(plain)


async def test_every_call_with_an_entry_takes_the_bytes(over_json: Files, top: bytes, file: bytes):
    files, unary = over_json, over_json.wire.unary
    made, moved, copied, link = (top + b"/" + name for name in (b"d\xf0", b"m\xf0", b"c\xf0", b"l\xf0"))
    entry = (await unary(f"{SERVICE}/MakeDir", pb.MakeDirRequest(raw_path=made), pb.MakeDirResponse)).entry
    assert (entry.raw_path, os.path.isdir(made)) == (made, True)
    written = await files.write("ignored", b"x" * 10, raw_path=made + b"/n\xee")
    assert (written.entry.raw_path, read(made + b"/n\xee")) == (made + b"/n\xee", b"x" * 10)
    request = pb.WriteFileRequest(options=pb.WriteRequest.Options(raw_path=made + b"/w\xee"), content=b"one")
    await unary(f"{SERVICE}/WriteFile", request, pb.WriteResponse)
    assert read(made + b"/w\xee") == b"one"
    assert (await files.read("ignored", raw_path=file)).data == b"content\n"
    await unary(f"{SERVICE}/Move", pb.MoveRequest(raw_source=file, raw_destination=moved), pb.MoveResponse)
    await unary(f"{SERVICE}/Copy", pb.CopyRequest(raw_source=moved, raw_destination=copied), pb.CopyResponse)
    assert (read(moved), read(copied), os.path.exists(file)) == (b"content\n", b"content\n", False)
    request = pb.MakeSymlinkRequest(raw_path=link, raw_target=b"m\xf0")
    entry = (await unary(f"{SERVICE}/MakeSymlink", request, pb.MakeSymlinkResponse)).entry
    assert (entry.link_text, entry.raw_symlink_target) == (b"m\xf0", moved)
    assert os.readlink(link) == b"m\xf0"
    request = pb.SetAttributesRequest(raw_path=moved, mode=0o604)
    await unary(f"{SERVICE}/SetAttributes", request, pb.SetAttributesResponse)
    assert os.stat(moved).st_mode & 0o777 == 0o604


async def test_pages_of_a_listing_go_on_behind_such_names(over_json: Files, top: bytes):
    names = sorted(bytes([0x80 + number]) for number in range(7))
    for name in names:
        write(top + b"/" + name, b"")
    found, token = [], ""
    while True:
        request = pb.ListEntriesRequest(path="ignored", raw_path=top, page_size=2, page_token=token)
        async with over_json.wire.server_stream(f"{SERVICE}/ListEntries", request, pb.ListEntriesResponse) as pages:
            messages = [message async for message in pages]
        found += [entry.raw_path for message in messages for entry in message.entries]
        token = messages[-1].next_page_token
        if not token:
            break
    assert found == [top + b"/" + name for name in names]


async def test_searches_take_and_tell_the_bytes(over_json: Files, top: bytes, file: bytes):
    wire, selection = over_json.wire, search.Selection(raw_path=top)
    async with wire.server_stream(f"{SERVICE}/Find", search.FindRequest(selection=selection), pb.FindResponse) as found:
        assert [entry.raw_path for message in [m async for m in found] for entry in message.entries] == [file]
    request = search.GrepRequest(selection=selection, pattern=search.Pattern(text="content"))
    async with wire.server_stream(f"{SERVICE}/Grep", request, search.GrepResponse) as found:
        assert [one.raw_path for message in [m async for m in found] for one in message.files] == [file]
    request = search.ReplaceRequest(
        selection=search.Selection(raw_path=file), pattern=search.Pattern(text="content"), replacement="new"
    )
    response = await wire.unary(f"{SERVICE}/Replace", request, search.ReplaceResponse)
    assert ([one.raw_path for one in response.files], read(file)) == ([file], b"new\n")
    lines = search.ReadLinesRequest(raw_path=file, first=1)
    assert (await wire.unary(f"{SERVICE}/ReadLines", lines, search.ReadLinesResponse)).text == "new\n"


async def test_archives_take_and_tell_the_bytes(over_json: Files, top: bytes, file: bytes):
    wire = over_json.wire
    os.mkfifo(top + b"/p\xee")
    write(top + b"/other", b"")
    request = archive.ArchiveRequest(raw_path=top, raw_members=[b"f\xfe", b"p\xee"])
    async with wire.server_stream(f"{SERVICE}/Archive", request, archive.ArchiveResponse) as messages:
        found = [message async for message in messages]
    assert found[0].start.raw_path == top
    assert [(one.name, one.raw_name) for one in found[-1].end.left_out] == [(f"p{SHOWN}", b"p\xee")]
    data = b"".join(message.chunk.data for message in found)
    target = os.path.dirname(top) + b"/x\xef"
    requests = [
        archive.ExtractRequest(options=archive.ExtractRequest.Options(raw_path=target)),
        archive.ExtractRequest(chunk=data),
    ]
    done = await wire.client_stream(f"{SERVICE}/Extract", requests, archive.ExtractResponse)
    assert (done.raw_path, os.listdir(target), read(target + b"/f\xfe")) == (target, [b"f\xfe"], b"content\n")


async def test_an_upload_in_parts_takes_and_tells_the_bytes(over_json: Files, top: bytes):
    wire, path = over_json.wire, top + b"/u\xee"
    made = await wire.unary(
        f"{SERVICE}/CreateUpload", uploads.CreateUploadRequest(raw_path=path), uploads.CreateUploadResponse
    )
    assert made.upload.raw_path == path
    requests = [
        uploads.WritePartRequest(start=uploads.WritePartRequest.Start(upload_id=made.upload.id)),
        uploads.WritePartRequest(chunk=b"parts"),
    ]
    await wire.client_stream(f"{SERVICE}/WritePart", requests, uploads.WritePartResponse)
    commit = uploads.CommitUploadRequest(upload_id=made.upload.id)
    done = await wire.unary(f"{SERVICE}/CommitUpload", commit, uploads.CommitUploadResponse)
    assert (done.raw_path, read(path)) == (path, b"parts")


async def test_a_watch_of_such_a_directory_tells_its_changes(over_json: Files, top: bytes):
    wire = over_json.wire
    watcher = await wire.unary(
        f"{SERVICE}/CreateWatcher",
        pb.CreateWatcherRequest(raw_path=top, include_entry=True),
        pb.CreateWatcherResponse,
    )
    write(top + b"/n\xee", b"")
    events: list[pb.FilesystemEvent] = []
    while not events:
        request = pb.GetWatcherEventsRequest(watcher_id=watcher.watcher_id)
        events += (await wire.unary(f"{SERVICE}/GetWatcherEvents", request, pb.GetWatcherEventsResponse)).events
    assert (events[0].raw_name, events[0].entry.raw_path) == (b"n\xee", top + b"/n\xee")


async def test_half_of_a_surrogate_pair_in_json_is_refused(daemon: Daemon):
    body = b'{"path": "/tmp/\\udcff"}'
    headers = {"Content-Type": "application/json"}
    response = await exchange(daemon.port, "POST", f"/{SERVICE}/Stat", headers=headers, body=body)
    assert (response.status, json.loads(response.body)["code"]) == (400, "invalid_argument")


# REST.


def strict(body: bytes) -> dict[str, object]:
    """JSON that has no half of a pair in it."""
    found = json.loads(body)
    json.dumps(found, ensure_ascii=False).encode()
    return found


async def test_rest_takes_percent_encoded_bytes_and_answers_so(daemon: Daemon, top: bytes):
    path = top + b"/r\xee"
    where = f"/files?path={quote(path)}"
    response = await exchange(daemon.port, "POST", where, headers={"Content-Type": OCTET}, body=b"raw")
    (answer,) = strict(response.body)
    assert (response.status, read(path)) == (200, b"raw")
    assert (answer["path"], answer["encoded_path"], answer["name"]) == (shown(path), quote(path), f"r{SHOWN}")
    assert (await exchange(daemon.port, "GET", where)).body == b"raw"
    missing = await exchange(daemon.port, "GET", where + "%FF")
    assert missing.status == 404
    assert SHOWN in str(strict(missing.body)["message"])


async def test_rest_refuses_what_is_only_shown(daemon: Daemon, file: bytes):
    where = f"/files?path={quote(shown(file))}"
    for method, body in (("GET", b""), ("POST", b"new")):
        response = await exchange(daemon.port, method, where, headers={"Content-Type": OCTET}, body=body)
        assert (response.status, read(file)) == (400, b"content\n")
        assert "percent-encoded" in str(strict(response.body)["message"])
    archived = await exchange(daemon.port, "GET", f"/files/archive?path={quote(shown(os.path.dirname(file)))}")
    assert archived.status == 400


async def test_a_form_names_files_by_their_bytes(daemon: Daemon, top: bytes):
    path = top + b"/form\xee"
    parts = b'--%b\r\nContent-Disposition: form-data; name=file; filename="%b"\r\n\r\nform\r\n--%b--\r\n'
    body = parts % (BOUNDARY.encode(), path, BOUNDARY.encode())
    response = await exchange(daemon.port, "POST", "/files", headers={"Content-Type": FORM}, body=body)
    (answer,) = strict(response.body)
    assert (response.status, read(path), answer["encoded_path"]) == (200, b"form", quote(path))


async def test_compose_and_uploads_take_percent_encoded_paths(daemon: Daemon, top: bytes, file: bytes):
    target, other = top + b"/all\xee", top + b"/100%"
    write(other, b"more\n")
    wish = {"source_paths": [quote(file), quote(other)], "destination": quote(target), "percent_encoded": True}
    headers = {"Content-Type": "application/json"}
    response = await exchange(daemon.port, "POST", "/files/compose", headers=headers, body=json.dumps(wish).encode())
    assert (response.status, strict(response.body)["encoded_path"]) == (200, quote(target))
    assert read(target) == b"content\nmore\n"
    body = json.dumps({"path": quote(file), "percent_encoded": True}).encode()
    response = await exchange(daemon.port, "POST", "/files/uploads", headers=headers, body=body)
    assert (response.status, strict(response.body)["encoded_path"]) == (201, quote(file))
    one = response.headers["Location"]
    await exchange(daemon.port, "PUT", f"{one}?offset=0", body=b"parts")
    response = await exchange(daemon.port, "POST", f"{one}/commit", headers=headers)
    assert (strict(response.body)["encoded_path"], read(file)) == (quote(file), b"parts")


async def test_a_signature_for_such_a_path_is_judged(daemon: Daemon, file: bytes):
    response = await exchange(daemon.port, "GET", f"/files?path={quote(file)}&signature=v1_x")
    assert response.status in (200, 401)


async def test_extract_over_rest_answers_without_halves_of_pairs(daemon: Daemon, top: bytes):
    target = top + b"/ex\xee"
    response = await exchange(
        daemon.port, "POST", f"/files/extract?path={quote(target)}", headers={"Content-Type": OCTET}, body=bytes(1024)
    )
    assert (response.status, strict(response.body)["encoded_path"]) == (200, quote(target))
    assert os.listdir(target) == []
