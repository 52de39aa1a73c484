"""Stat: what an entry is like."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from envd_proto.filesystem.filesystem_pb2 import (
    FILE_TYPE_DIRECTORY,
    FILE_TYPE_FILE,
    FILE_TYPE_UNSPECIFIED,
)
from tests.support.daemon import Daemon
from tests.support.filesystem import Files
from tests.support.grpc import Grpc
from tests.support.http1 import exchange
from tests.support.wires import RpcError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(b"content")
    made.chmod(0o644)
    return made


@pytest.mark.line(81)
async def test_a_regular_file(files: Files, file: Path):
    entry = await files.stat(file)
    st = file.stat()
    assert (entry.name, entry.path, entry.size) == ("file", str(file), 7)
    assert (entry.type, entry.mode, entry.permissions) == (FILE_TYPE_FILE, 420, "-rw-r--r--")
    assert (entry.st_mode, entry.uid, entry.gid) == (st.st_mode, st.st_uid, st.st_gid)
    assert entry.modified_time.ToNanoseconds() == st.st_mtime_ns
    assert (entry.owner, entry.group) == (file.owner(), file.group())
    assert entry.etag
    assert not entry.HasField("symlink_target")
    assert not entry.HasField("raw_path")


@pytest.mark.line(82)
async def test_a_directory(files: Files, tmp_path: Path):
    (tmp_path / "d").mkdir(mode=0o755)
    entry = await files.stat(tmp_path / "d")
    assert (entry.type, entry.permissions, entry.etag) == (FILE_TYPE_DIRECTORY, "drwxr-xr-x", "")


@pytest.mark.line(83)
async def test_a_link_is_of_the_type_of_what_it_leads_to(files: Files, file: Path, tmp_path: Path):
    (tmp_path / "through").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("through/file")
    entry = await files.stat(tmp_path / "link")
    assert (entry.type, entry.mode, entry.permissions[0]) == (FILE_TYPE_FILE, 0o644, "L")
    assert (entry.symlink_target, entry.link_text, entry.size) == (str(file), b"through/file", len("through/file"))
    assert entry.etag == (await files.stat(file)).etag
    (tmp_path / "to-directory").symlink_to(".")
    assert (await files.stat(tmp_path / "to-directory")).type == FILE_TYPE_DIRECTORY


@pytest.mark.line(84)
@pytest.mark.parametrize("target", ["nowhere", "link", "/proc/self/fd/9999"])
async def test_a_link_that_leads_nowhere(files: Files, tmp_path: Path, target):
    (tmp_path / "link").symlink_to(target)
    entry = await files.stat(tmp_path / "link")
    assert (entry.type, entry.mode, entry.symlink_target) == (FILE_TYPE_UNSPECIFIED, 0, str(tmp_path / "link"))
    assert entry.link_text == target.encode()


@pytest.mark.line(85)
async def test_set_id_bits_are_letters_and_no_mode(files: Files, file: Path):
    file.chmod(0o4755)
    entry = await files.stat(file)
    assert (entry.permissions, entry.mode, entry.st_mode & 0o7777) == ("urwxr-xr-x", 0o755, 0o4755)
    file.chmod(0o6711)
    assert (await files.stat(file)).permissions == "ugrwx--x--x"


@pytest.mark.line(86)
async def test_a_sticky_directory(files: Files, tmp_path: Path):
    tmp_path.chmod(0o1777)
    assert (await files.stat(tmp_path)).permissions == "dtrwxrwxrwx"


@pytest.mark.line(87)
async def test_what_is_neither_file_nor_directory(files: Files, tmp_path: Path):
    entry = await files.stat("/dev/null")
    assert (entry.type, entry.permissions[:2]) == (FILE_TYPE_UNSPECIFIED, "Dc")
    os.mkfifo(tmp_path / "fifo", 0o644)
    assert (await files.stat(tmp_path / "fifo")).permissions == "prw-r--r--"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert (await files.stat(tmp_path / "socket")).permissions[0] == "S"


@pytest.mark.line(88)
async def test_what_is_not_there(files: Files, tmp_path: Path):
    with pytest.raises(RpcError) as error:
        await files.stat(tmp_path / "missing")
    assert error.value.code == "not_found"
    assert error.value.message == f"file not found: lstat {tmp_path}/missing: no such file or directory"


@pytest.mark.line(89)
async def test_nothing_is_below_a_file(files: Files, file: Path):
    with pytest.raises(RpcError) as error:
        await files.stat(file / "below")
    assert error.value.code == "not_found"
    assert error.value.message == f"file not found: lstat {file}/below: not a directory"


@needs_root
@pytest.mark.line(90)
async def test_owners_without_a_name_are_numbers(files: Files, file: Path):
    os.chown(file, 54321, 54322)
    entry = await files.stat(file)
    assert (entry.owner, entry.group, entry.uid, entry.gid) == ("54321", "54322", 54321, 54322)


@pytest.mark.line(91)
async def test_metadata_is_what_is_stored_under_its_prefix(files: Files, file: Path, tmp_path: Path):
    os.setxattr(file, "user.e2b.key", b"value")
    os.setxattr(file, "user.e2b.broken", b"\xff")
    os.setxattr(file, "user.other", b"hidden")
    assert dict((await files.stat(file)).metadata) == {"key": "value"}
    (tmp_path / "link").symlink_to("file")
    assert dict((await files.stat(tmp_path / "link")).metadata) == {"key": "value"}


async def test_a_time_no_timestamp_can_hold_is_the_nearest_one(files: Files, tmp_path: Path):
    for seconds, found in ((1, 1), (0, 0), (-5, -5)):
        os.utime(tmp_path, (seconds, seconds))
        assert (await files.stat(tmp_path)).modified_time.seconds == found
    far = Path("/dev/shm", tmp_path.name)
    far.touch()
    try:
        os.utime(far, (0, 300_000_000_000))
        kept = far.stat().st_mtime
        assert (await files.stat(far)).modified_time.seconds == min(kept, 253402300799)
    finally:
        far.unlink()


async def test_a_name_that_is_not_utf8_is_shown_and_told(files: Files, tmp_path: Path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x98\x80"
    os.close(os.open(raw, os.O_CREAT))
    (entry,) = await files.list_dir(tmp_path)
    assert (entry.name, entry.path) == ("caf\ufffd \U0001f600", f"{tmp_path}/caf\ufffd \U0001f600")
    assert entry.raw_path == raw


async def test_a_file_with_a_new_content_has_a_new_etag(files: Files, file: Path):
    seen = {(await files.stat(file)).etag}
    for content in (b"longer content", b"other   content"):
        await files.write(file, content)
        seen.add((await files.stat(file)).etag)
    assert len(seen) == 3


@pytest.mark.line(131)
async def test_an_old_client_gets_what_it_knows(files: Files, file: Path):
    old = Files(files.wire.with_headers({"User-Agent": "connect-python"}))
    entry = await old.stat(file)
    if isinstance(files.wire, Grpc):
        assert entry == await files.stat(file)  # the library adds its own name to the header
        return
    assert [field.name for field, _ in entry.ListFields()] == ["name", "type", "path"]
    (listed,) = await old.list_dir(file.parent)
    assert [field.name for field, _ in listed.ListFields()] == ["name", "type", "path"]


@pytest.mark.line(131)
@pytest.mark.parametrize(("agent", "told"), [("connect-python", "true"), ("connect-python/1", None), ("python", None)])
async def test_an_old_client_is_told_that_it_is_taken_for_one(daemon: Daemon, file: Path, agent, told):
    headers = {"Content-Type": "application/json", "User-Agent": agent}
    body = json.dumps({"path": str(file)}).encode()
    response = await exchange(daemon.port, "POST", "/filesystem.Filesystem/Stat", headers=headers, body=body)
    assert response.headers.get("x-e2b-legacy-sdk") == told
    assert ("size" in json.loads(response.body)["entry"]) == (told is None)
