"""Files: what the scenarios of the published package do not show."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat

import pytest

from envd_sdk import (
    ConflictException,
    FileNotFoundException,
    FileType,
    InvalidArgumentException,
    NotEnoughSpaceException,
    TimeoutException,
    WriteEntry,
    WriteOptions,
)
from tests.support.disks import small_disk

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "file")


async def test_a_file_is_overwritten_in_place_for_who_has_it_open(sandbox, concurrency, path):
    await concurrency.call(sandbox.files.write, path, "one\n")
    with open(path, "rb") as tail:
        await concurrency.call(sandbox.files.write, path, "one\ntwo\n", options=WriteOptions(atomic=False))
        assert tail.read() == b"one\ntwo\n"
        await concurrency.call(sandbox.files.write, path, CONTENT * 4, options=WriteOptions(atomic=False))
        assert len(tail.read()) == len(CONTENT) * 4 - 8
    os.link(path, f"{path}2")
    with pytest.raises(InvalidArgumentException):
        await concurrency.call(sandbox.files.write, path, "x", options=WriteOptions(atomic=True))


async def test_several_files_are_written_in_every_documented_way(sandbox, concurrency, tmp_path):
    files = [WriteEntry(f"{tmp_path}/{n}", f"content {n}") for n in range(3)]
    for call in (
        lambda: concurrency.call(sandbox.files.write, files),
        lambda: concurrency.call(sandbox.files.write, files=files),
        lambda: concurrency.call(sandbox.files.write_files, [{"path": one.path, "data": one.data} for one in files]),
    ):
        assert [info.name for info in await call()] == ["0", "1", "2"]
        for n in range(3):
            assert (tmp_path / f"{n}").read_text() == f"content {n}"
            (tmp_path / f"{n}").unlink()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: "text: äöü", "text: äöü".encode()),
        (lambda: b"", b""),
        (lambda: bytearray(CONTENT), CONTENT),
        (lambda: memoryview(CONTENT)[10:], CONTENT[10:]),
        (lambda: io.BytesIO(CONTENT), CONTENT),
        (lambda: io.StringIO("ä\n" * 100_000), ("ä\n" * 100_000).encode()),
        (lambda: iter([b"one", "zwei", b""]), b"onezwei"),
    ],
    ids=["text", "nothing", "bytearray", "view", "binary file", "text file", "pieces"],
)
async def test_content_comes_in_many_forms(sandbox, concurrency, path, make, expected):
    await concurrency.call(sandbox.files.write, path, make())
    with open(path, "rb") as file:
        assert file.read() == expected
    assert bytes(await concurrency.call(sandbox.files.read, path, "bytes")) == expected


async def test_what_an_iterable_raises_reaches_the_caller_and_changes_nothing(sandbox, concurrency, path, tmp_path):
    def pieces():
        yield CONTENT
        raise ZeroDivisionError("no more")

    await concurrency.call(sandbox.files.write, path, "old")
    with pytest.raises(ZeroDivisionError, match="no more"):
        await concurrency.call(sandbox.files.write, path, pieces())
    assert await concurrency.call(sandbox.files.read, path) == "old"
    assert os.listdir(tmp_path) == ["file"]


async def test_a_file_is_sent_from_where_it_stands(sandbox, concurrency, path):
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    await concurrency.call(sandbox.files.write, path, file)
    assert await concurrency.call(sandbox.files.read, path) == "456789"


async def test_ranges_are_read(sandbox, concurrency, path):
    await concurrency.call(sandbox.files.write, path, CONTENT)
    for offset, length in ((0, 10), (1000, 300_000), (5_000_000, None), (len(CONTENT), None), (10**9, 5)):
        found = await concurrency.call(sandbox.files.read, path, "bytes", offset=offset, length=length)
        assert found == CONTENT[offset : None if length is None else offset + length]
    with pytest.raises(InvalidArgumentException):
        await concurrency.call(sandbox.files.read, path, offset=-1)
    with pytest.raises(InvalidArgumentException, match="format"):
        await concurrency.call(sandbox.files.read, path, "blob")


async def test_a_stream_is_read_and_left(sandbox, concurrency, path):
    await concurrency.call(sandbox.files.write, path, CONTENT)
    stream = await concurrency.call(sandbox.files.read, path, "stream")
    assert (stream.size, stream.entry.size) == (len(CONTENT), len(CONTENT))
    assert b"".join(await concurrency.all(stream)) == CONTENT
    left = await concurrency.call(sandbox.files.read, path, "stream")
    assert (await concurrency.call(left.read)).startswith(CONTENT[:256])
    await concurrency.call(left.close)
    assert await concurrency.call(left.read) == b""


async def test_text_is_whole_whatever_the_chunks(sandbox, concurrency, path):
    text = "€" * 500_000
    await concurrency.call(sandbox.files.write, path, text)
    assert await concurrency.call(sandbox.files.read, path) == text
    await concurrency.call(sandbox.files.write, path, b"a\xff")
    assert await concurrency.call(sandbox.files.read, path) == "a\N{REPLACEMENT CHARACTER}"


async def test_progress_is_told(sandbox, concurrency, path):
    sent: list[int] = []
    come: list[int] = []
    await concurrency.call(sandbox.files.write, path, CONTENT, on_progress=sent.append)
    await concurrency.call(sandbox.files.read, path, "bytes", on_progress=come.append)
    for seen in (sent, come):
        assert seen == sorted(seen)
        assert seen[-1] == len(CONTENT)
        assert len(seen) > 3


async def test_a_file_is_written_under_conditions(sandbox, concurrency, path):
    write = sandbox.files.write
    await concurrency.call(write, path, "one", options=WriteOptions(if_absent=True))
    with pytest.raises(ConflictException):
        await concurrency.call(write, path, "two", options=WriteOptions(if_absent=True))
    etag = (await concurrency.call(sandbox.files.get_info, path)).etag
    await concurrency.call(write, path, "three", options=WriteOptions(if_match=etag))
    with pytest.raises(ConflictException):
        await concurrency.call(write, path, "four", options=WriteOptions(if_match=etag))
    assert await concurrency.call(sandbox.files.read, path) == "three"


async def test_a_file_is_written_with_options(sandbox, concurrency, path):
    options = WriteOptions(mode=0o640, metadata={"k": "v"}, sync=True, sha256=hashlib.sha256(b"x").digest())
    await concurrency.call(sandbox.files.write, path, "x", options=options)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert (await concurrency.call(sandbox.files.get_info, path)).metadata == {"k": "v"}
    await concurrency.call(sandbox.files.write, path, "y", options=WriteOptions(append=True, metadata={"k": "v"}))
    assert await concurrency.call(sandbox.files.read, path) == "xy"
    with pytest.raises(InvalidArgumentException, match="metadata"):
        await concurrency.call(sandbox.files.write, path, "y", options=options, metadata={"other": "x"})


async def test_what_is_known_of_an_entry(sandbox, concurrency, path, tmp_path):
    await concurrency.call(sandbox.files.write, path, "12345")
    os.symlink("file", tmp_path / "link")
    info = await concurrency.call(sandbox.files.get_info, path)
    assert (info.name, info.type, info.path, info.size) == ("file", FileType.FILE, path, 5)
    assert (info.mode, info.permissions) == (0o644, "-rw-r--r--")
    assert info.modified_time.timestamp() == pytest.approx(os.stat(path).st_mtime, abs=1e-3)
    link = await concurrency.call(sandbox.files.get_info, str(tmp_path / "link"))
    assert (link.type, link.symlink_target) == (FileType.FILE, path)
    assert (await concurrency.call(sandbox.files.get_info, str(tmp_path))).type is FileType.DIR


async def test_copies_are_made(sandbox, concurrency, path, tmp_path):
    await concurrency.call(sandbox.files.write, path, "x")
    await concurrency.call(sandbox.files.copy, path, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_text() == "x"
    with pytest.raises(ConflictException):
        await concurrency.call(sandbox.files.copy, path, str(tmp_path / "copy"))
    await concurrency.call(sandbox.files.copy, path, str(tmp_path / "copy"), overwrite=True)


async def test_a_file_is_waited_for(sandbox, concurrency, path):
    waiting = asyncio.create_task(concurrency.call(sandbox.files.wait_for, path, 20))
    await concurrency.call(sandbox.commands.run, f"sleep 0.1; echo there > {path}")
    assert (await waiting).name == "file"
    with pytest.raises(TimeoutException):
        await concurrency.call(sandbox.files.wait_for, path + "-not", 0.1)


async def test_what_is_not_there(sandbox, concurrency, path):
    for call in (
        lambda: concurrency.call(sandbox.files.read, path),
        lambda: concurrency.call(sandbox.files.read, path, "stream"),
        lambda: concurrency.call(sandbox.files.list, path),
        lambda: concurrency.call(sandbox.files.get_info, path),
        lambda: concurrency.call(sandbox.files.rename, path, path + "2"),
    ):
        with pytest.raises(FileNotFoundException, match="file"):
            await call()
    await concurrency.call(sandbox.files.remove, path)


async def test_a_stream_is_an_iterator(sandbox, concurrency, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 600_000)
    stream = await concurrency.call(sandbox.files.read, str(tmp_path / "file"), "stream")
    step = anext if concurrency.name == "async" else next
    first = await concurrency.call(step, stream)
    rest = b"".join(await concurrency.all(stream))
    assert first + rest == b"x" * 600_000
    assert await concurrency.call(step, stream, b"end") == b"end"


async def test_a_full_disk_leaves_what_was_there(sandbox, concurrency, tmp_path):
    with small_disk(tmp_path / "disk", "size=15m") as disk:
        path = str(disk / "file")
        await concurrency.call(sandbox.files.write, path, "old")
        for size in (15_900_000, 64_000_000):  # in one call, and in parts
            with pytest.raises(NotEnoughSpaceException, match="not enough disk space|no space left") as refused:
                await concurrency.call(sandbox.files.write, path, b"x" * size)
            assert refused.value.code == "resource_exhausted"
        assert await concurrency.call(sandbox.files.read, path) == "old"
        assert os.listdir(disk) == ["file"]
