"""Names that are not UTF-8: as bytes, as text of os.fsdecode, and as the entries that have them."""

from __future__ import annotations

import os

import pytest

from envd_sdk import FilesystemEventType, InvalidArgumentException, WriteEntry, WriteOptions

SHOWN = "\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def top(tmp_path) -> bytes:
    made = os.fsencode(tmp_path) + b"/t\xff"
    os.mkdir(made)
    return made


def read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


async def test_what_is_listed_can_be_used_in_every_call(sandbox, concurrency, top):
    files, call = sandbox.files, concurrency.call
    path, other, made = top + b"/f\xfe", top + b"/g\xfe", top + b"/d\xfe"
    written = await call(files.write, path, "content\n")
    assert (written.path, written.raw_path, written.name) == (path.decode(errors="replace"), path, f"f{SHOWN}")
    (entry,) = await call(files.list, top)
    assert entry.raw_path == path
    assert await call(files.read, entry) == "content\n"
    assert await call(files.read, os.fsdecode(path)) == "content\n"
    assert (await call(files.get_info, entry)).raw_path == path
    assert await call(files.exists, entry)
    assert (await call(files.wait_for, path)).raw_path == path
    assert await call(files.make_dir, made)
    assert not await call(files.make_dir, made)
    moved = await call(files.rename, entry, other)
    copied = await call(files.copy, moved, made + b"/c")
    assert (read(moved.raw_path), read(copied.raw_path)) == (b"content\n", b"content\n")
    await call(files.write_files, [WriteEntry(moved, "one"), {"path": made + b"/\xfd", "data": "two"}])
    assert (read(other), read(made + b"/\xfd")) == (b"one", b"two")
    await call(files.write, other, " more", options=WriteOptions(append=True))
    assert (await call(files.read_lines, moved)).text == "one more"
    await call(files.remove, moved)
    assert not os.path.exists(other)


async def test_large_content_goes_in_parts_to_such_a_name(sandbox, concurrency, top):
    content = os.urandom(18_000_000)
    written = await concurrency.call(
        sandbox.files.write, top + b"/l\xfe", iter([content[:9_000_000], content[9_000_000:]])
    )
    assert (written.raw_path, read(top + b"/l\xfe") == content) == (top + b"/l\xfe", True)


async def test_searches_tell_apart_what_looks_alike(sandbox, concurrency, top):
    files, call = sandbox.files, concurrency.call
    for name in (b"a\xfe", b"a\xfd"):
        await call(files.write, top + b"/" + name, "text\n")
    found = await call(files.grep, "text", top)
    assert sorted(one.raw_path for one in found.files) == [top + b"/a\xfd", top + b"/a\xfe"]
    assert {entry.raw_path for entry in await call(files.find, top)} == {one.raw_path for one in found.files}
    for one in found.files:
        changed = await call(files.replace, one, "text", "new", expected=1)
        assert [file.raw_path for file in changed.files] == [one.raw_path]
    assert read(top + b"/a\xfd") == b"new\n" == read(top + b"/a\xfe")


async def test_directories_are_moved_and_watched(sandbox, concurrency, top, tmp_path):
    files, call = sandbox.files, concurrency.call
    await call(files.write, top + b"/s\xfe", "x")
    await call(files.download_dir, top, str(tmp_path / "local"))
    assert os.listdir(os.fsencode(tmp_path / "local")) == [b"s\xfe"]
    await call(files.upload_dir, str(tmp_path / "local"), top + b"/up\xfe")
    assert os.listdir(top + b"/up\xfe") == [b"s\xfe"]
    handle = await call(files.watch_dir, top)
    await call(files.write, top + b"/n\xfe", "x")
    events = []
    while not any(event.type is FilesystemEventType.WRITE for event in events):
        events += await call(handle.get_new_events)
    assert {event.raw_name for event in events} == {b"n\xfe"}
    await call(handle.stop)


async def test_what_is_shown_is_not_taken_for_the_name(sandbox, concurrency, top):
    await concurrency.call(sandbox.files.write, top + b"/f\xfe", "mine")
    shown = (top + b"/f\xfe").decode(errors="replace")
    for call in (
        lambda: concurrency.call(sandbox.files.remove, shown),
        lambda: concurrency.call(sandbox.files.write, shown, "other"),
    ):
        with pytest.raises(InvalidArgumentException, match="raw_path"):
            await call()
    assert (os.listdir(top), read(top + b"/f\xfe")) == ([b"f\xfe"], b"mine")


async def test_what_is_no_path_is_told_so(sandbox, concurrency):
    for what in (1, None, object(), "\ud800"):
        with pytest.raises(InvalidArgumentException, match="path is"):
            await concurrency.call(sandbox.files.get_info, what)
