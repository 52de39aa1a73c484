"""Read and Write."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envd_proto.filesystem.filesystem_pb2 import WriteRequest
from tests.support.filesystem import Files, write_requests
from tests.support.wires import RpcError

CONTENT = random.Random(1).randbytes(3_000_001)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(b"old content")
    return made


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


# Read.


@pytest.mark.parametrize("chunk_size", [0, 1, 1000, 300_000, 2**32 - 1])
async def test_a_file_comes_in_ascending_chunks_between_a_start_and_an_end(files: Files, tmp_path: Path, chunk_size):
    content = CONTENT if chunk_size != 1 else CONTENT[:100]
    (tmp_path / "file").write_bytes(content)
    read = await files.read(tmp_path / "file", chunk_size=chunk_size)
    assert (read.data, read.kinds[0], read.kinds[-1]) == (content, "start", "end")
    assert (read.start.length, read.end.length, read.start.entry.size) == (len(content),) * 3
    ends = list(itertools.accumulate(len(chunk.data) for chunk in read.chunks))
    assert [chunk.offset for chunk in read.chunks] == [0, *ends[:-1]]
    assert max(len(chunk.data) for chunk in read.chunks) <= min(chunk_size or 256 * 1024, 1024 * 1024)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 0, b""),
        (4, None, b"content"),
        (4, 3, b"con"),
        (4, 100, b"content"),
        (11, None, b""),
        (12, 5, b""),
        (2**63, None, b""),
        (2**64 - 1, 2**64 - 1, b""),
        (0, 2**64 - 1, b"old content"),
    ],
)
async def test_a_range_is_what_the_file_has_of_it(files: Files, file: Path, offset, length, expected):
    options = {} if length is None else {"length": length}
    read = await files.read(file, offset=offset, **options)
    assert (read.data, read.start.length, read.end.length) == (expected, len(expected), len(expected))


async def test_an_empty_file_has_no_chunks(files: Files, tmp_path: Path):
    (tmp_path / "empty").touch()
    assert (await files.read(tmp_path / "empty")).kinds == ["start", "end"]


async def test_a_link_is_read_through(files: Files, file: Path):
    (file.parent / "link").symlink_to("file")
    read = await files.read(file.parent / "link")
    assert (read.data, read.start.entry.link_text) == (b"old content", b"file")


async def test_a_file_the_kernel_makes_up_is_read_to_its_end(files: Files):
    assert (await files.read("/proc/version")).data == Path("/proc/version").read_bytes()
    assert (await files.read("/sys/kernel/mm/transparent_hugepage/enabled")).end.length > 0


async def test_reading_on_needs_the_same_file(files: Files, file: Path):
    etag = (await files.read(file, length=3)).start.entry.etag
    assert (await files.read(file, offset=3, if_match=etag)).data == b" content"
    file.write_bytes(b"new content, longer")
    assert "etag" in await refused(files.read(file, offset=3, if_match=etag), "failed_precondition")


async def test_what_has_no_content_is_not_read(files: Files, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", "/dev/zero"):
        await refused(files.read(path), "invalid_argument")
    (tmp_path / "loop").symlink_to("loop")
    await refused(files.read(tmp_path / "loop"), "failed_precondition")
    await refused(files.read(tmp_path / "missing"), "not_found")


# Write.


async def test_a_file_is_written_from_its_pieces(files: Files, tmp_path: Path):
    pieces = [CONTENT[at : at + 70_000] for at in range(0, len(CONTENT), 70_000)]
    response = await files.write(tmp_path / "a/b/file", pieces, return_sha256=True)
    assert (tmp_path / "a/b/file").read_bytes() == CONTENT
    assert (response.written, response.created, response.entry.size) == (len(CONTENT), True, len(CONTENT))
    assert response.sha256 == hashlib.sha256(CONTENT).digest()
    assert names(tmp_path / "a/b") == ["file"]


async def test_the_options_alone_write_an_empty_file(files: Files, file: Path, tmp_path: Path):
    assert (await files.write(tmp_path / "new", [])).created
    assert not (await files.write(file, [])).created
    assert (file.read_bytes(), (tmp_path / "new").read_bytes()) == (b"", b"")


@pytest.mark.every_wire
async def test_a_client_that_leaves_in_the_middle_changes_nothing(files: Files, file: Path, tmp_path: Path):
    for path in (file, tmp_path / "new/file"):
        never = asyncio.Event()

        async def pieces(never: asyncio.Event = never) -> AsyncIterator[bytes]:
            yield CONTENT
            await never.wait()

        with pytest.raises((RpcError, TimeoutError, asyncio.TimeoutError)):
            async with asyncio.timeout(0.3):
                await files.write(path, pieces())
    async with asyncio.timeout(60):
        while names(tmp_path) != ["file"]:
            await asyncio.sleep(0.01)
    assert file.read_bytes() == b"old content"


@pytest.mark.parametrize("mode", [0o600, 0o4711, 0])
async def test_a_mode_is_set_whatever_the_umask(files: Files, file: Path, tmp_path: Path, mode):
    for path in (file, tmp_path / "new"):
        assert (await files.write(path, b"x", mode=mode)).entry.st_mode & 0o7777 == mode
        assert path.stat().st_mode & 0o7777 == mode


async def test_parents_are_made_unless_they_must_be_there(files: Files, tmp_path: Path):
    message = await refused(files.write(tmp_path / "a/file", b"x", parents=False), "not_found")
    assert "no such file" in message
    assert names(tmp_path) == []
    assert (await files.write(tmp_path / "file", b"x", parents=False)).created


async def test_links_are_followed(files: Files, file: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("target")
    assert not (await files.write(tmp_path / "link", b"new")).created
    assert (await files.write(tmp_path / "dangling", b"made")).created
    assert (file.read_bytes(), (tmp_path / "target").read_bytes()) == (b"new", b"made")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("existing", [True, False])
async def test_content_is_appended(files: Files, file: Path, existing):
    path = file if existing else file.with_name("new")
    inode = file.stat().st_ino
    response = await files.write(path, [b", more", b" of it"], append=True)
    assert response.created != existing
    assert path.read_bytes() == b"old content" * existing + b", more of it"
    assert (path.stat().st_ino == inode) == existing


async def test_a_file_with_several_names_keeps_them(files: Files, file: Path, tmp_path: Path):
    os.link(file, tmp_path / "other")
    await files.write(file, b"new")
    assert (tmp_path / "other").read_bytes() == b"new"
    assert "hard links" in await refused(files.write(file, b"newer", atomic=True), "invalid_argument")
    assert file.read_bytes() == b"new"


async def test_in_place_means_the_same_inode(files: Files, file: Path):
    inode = file.stat().st_ino
    await files.write(file, b"new", atomic=False)
    assert (file.stat().st_ino, file.read_bytes()) == (inode, b"new")
    await files.write(file, b"newer")
    assert (file.stat().st_ino == inode, file.read_bytes()) == (False, b"newer")


async def test_a_condition_that_does_not_hold_changes_nothing(files: Files, file: Path, tmp_path: Path):
    etag = (await files.stat(file)).etag
    await refused(files.write(file, b"x", if_absent=True), "failed_precondition")
    await refused(files.write(file, b"x", if_match="other"), "failed_precondition")
    await refused(files.write(tmp_path / "a/missing", b"x", if_match="*"), "failed_precondition")
    assert (names(tmp_path), file.read_bytes()) == (["file"], b"old content")
    await files.write(file, b"1", if_match=etag)
    await files.write(file, b"2", if_match="*")
    await files.write(tmp_path / "new", b"3", if_absent=True)
    await refused(files.write(file, b"4", if_match=etag), "failed_precondition")
    assert (file.read_bytes(), (tmp_path / "new").read_bytes()) == (b"2", b"3")


async def test_of_two_writers_with_the_same_condition_one_wins(files: Files, file: Path, tmp_path: Path):
    etag = (await files.stat(file)).etag
    for path, condition in ((file, {"if_match": etag}), (tmp_path / "new", {"if_absent": True})):
        calls = [files.write(path, b"%d" % number, **condition) for number in range(8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        won = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
        lost = [result for result in results if isinstance(result, RpcError)]
        assert (len(won), len(lost)) == (1, 7)
        assert {error.code for error in lost} == {"failed_precondition"}
        assert path.read_bytes() == b"%d" % won[0]


async def test_metadata_is_replaced_also_by_none(files: Files, file: Path):
    assert dict((await files.write(file, b"x", metadata={"a": "1", "b": "2"})).entry.metadata) == {"a": "1", "b": "2"}
    os.setxattr(file, "user.other", b"kept")
    assert dict((await files.write(file, b"x", metadata={"b": "3"})).entry.metadata) == {"b": "3"}
    assert dict((await files.write(file, b"x")).entry.metadata) == {}
    assert os.getxattr(file, "user.other") == b"kept"


@pytest.mark.parametrize("metadata", [{"": "x"}, {"k" * 247: "x"}, {"k": "é"}, {"k": "\n"}, {"k": "v" * 4096}], ids=len)
async def test_metadata_that_cannot_be_kept_is_invalid(files: Files, file: Path, metadata):
    assert (await refused(files.write(file, b"x", metadata=metadata), "invalid_argument")).startswith(
        "invalid metadata: "
    )
    assert file.read_bytes() == b"old content"


async def test_other_content_than_announced_is_refused(files: Files, file: Path, tmp_path: Path):
    digest = hashlib.sha256(CONTENT).digest()
    await files.write(tmp_path / "right", CONTENT, sha256=digest)
    await refused(files.write(file, CONTENT + b"x", sha256=digest), "data_loss")
    await refused(files.write(tmp_path / "a/new", CONTENT[:-1], sha256=digest), "data_loss")
    assert (names(tmp_path), file.read_bytes()) == (["file", "right"], b"old content")


async def test_content_and_name_are_put_on_the_disk(files: Files, file: Path, tmp_path: Path):
    for options in ({}, {"append": True}, {"atomic": False}):
        for path in (file, tmp_path / f"new-{len(options)}{'append' in options}"):
            await files.write(path, b"x", sync=True, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": 0o10000},
        {"append": True, "atomic": True},
        {"append": True, "sha256": bytes(32)},
        {"sha256": b"short"},
    ],
    ids=str,
)
async def test_options_that_contradict_are_invalid(files: Files, file: Path, options):
    await refused(files.write(file, b"x", **options), "invalid_argument")
    assert file.read_bytes() == b"old content"


async def test_what_holds_no_content_is_not_written(files: Files, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "fifo", f"{tmp_path}/new/", f"{tmp_path}/.."):
        await refused(files.write(path, b"x"), "invalid_argument")
    await refused(files.write(tmp_path / "loop", b"x"), "failed_precondition")
    await refused(files.write(tmp_path / "fifo/below", b"x"), "invalid_argument")
    assert names(tmp_path) == ["fifo", "loop"]


async def test_a_device_is_written_and_stays_whose_it_is(files: Files):
    before = os.stat("/dev/null")
    assert (await files.write("/dev/null", CONTENT)).written == len(CONTENT)
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_mode) == (before.st_uid, before.st_mode)
    await refused(files.write("/dev/null", b"x", atomic=True), "invalid_argument")
    await refused(files.write("/dev/full", b"x"), "resource_exhausted")


async def test_the_messages_have_an_order(files: Files, file: Path):
    options = WriteRequest(options=WriteRequest.Options(path=str(file)))
    for requests in ([], [WriteRequest(chunk=b"x")], [options, options], [WriteRequest()], [options, WriteRequest()]):
        await refused(files.send(requests), "invalid_argument")
    assert file.read_bytes() == b"old content"


async def test_many_write_at_once(files: Files, tmp_path: Path):
    async def write(number: int) -> None:
        content = CONTENT[number:100_000]
        await files.send(write_requests([content[:50_000], content[50_000:]], path=f"{tmp_path}/{number % 5}"))

    await asyncio.gather(*(write(number) for number in range(40)))
    for number in range(5):
        written = (tmp_path / str(number)).read_bytes()
        assert written in [CONTENT[at:100_000] for at in range(number, 40, 5)]
    assert len(names(tmp_path)) == 5
