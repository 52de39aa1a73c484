"""ListDir and ListEntries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envd_proto.filesystem.filesystem_pb2 import FILE_TYPE_DIRECTORY, EntryInfo
from tests.support.filesystem import Files
from tests.support.wires import RpcError


def paths(entries: list[EntryInfo], root: object) -> list[str]:
    return [os.path.relpath(entry.path, str(root)) for entry in entries]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/c/d/e", "a", "b.x", "z"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b/file", "b/c/file", "b-file", "B", "ä", "\N{GRINNING FACE}", "\ufb00"):
        (tmp_path / name).touch()
    (tmp_path / "z/link").symlink_to("../b")
    return tmp_path


TOP = ["B", "a", "b", "b-file", "b.x", "z", "ä", "\ufb00", "\N{GRINNING FACE}"]
SECOND = ["B", "a", "b", "b/c", "b/file", "b-file", "b.x", "z", "z/link", *TOP[6:]]
ALL = ["B", "a", "b", "b/c", "b/c/d", "b/c/d/e", "b/c/file", "b/file", *SECOND[5:]]


@pytest.mark.line(101, 102, 104)
@pytest.mark.parametrize(("depth", "expected"), [(0, TOP), (1, TOP), (2, SECOND), (4, ALL), (2**32 - 1, ALL)])
async def test_a_directory_comes_before_its_content_and_siblings_in_byte_order(
    files: Files, tree: Path, depth, expected
):
    assert paths(await files.list_dir(tree, depth), tree) == expected


async def test_entries_are_as_stat_shows_them(files: Files, tree: Path):
    os.setxattr(tree / "B", "user.e2b.key", 'va"lü'.encode())
    os.mkfifo(tree / "fifo")
    (tree / 'quo"ted\n\x7f').touch()
    entries = await files.list_dir(tree, 9)
    assert entries == [await files.stat(entry.path) for entry in entries]
    streamed = [entry for batch in await files.list_entries(tree, depth=9) for entry in batch.entries]
    assert sorted(map(str, streamed)) == sorted(map(str, entries))


@pytest.mark.line(103)
async def test_a_listing_through_a_link_has_the_links_paths(files: Files, tree: Path):
    (tree / "link").symlink_to("b/c")
    for spelled in (f"{tree}/link", f"{tree}/link/", f"{tree}/a/../link"):
        entries = await files.list_dir(spelled, 2)
        assert [entry.path for entry in entries] == [f"{tree}/link/{name}" for name in ("d", "d/e", "file")]
        assert entries[0].type == FILE_TYPE_DIRECTORY


async def test_the_root_can_be_listed(files: Files):
    assert "/etc" in [entry.path for entry in await files.list_dir("/")]


@pytest.mark.line(105)
async def test_a_directory_that_is_not_there(files: Files, tmp_path: Path):
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("missing", "dangling"):
        for call in (files.list_dir(tmp_path / name), files.list_entries(tmp_path / name)):
            with pytest.raises(RpcError) as error:
                await call
            assert error.value.code == "not_found"
            assert error.value.message == f"path not found: lstat {tmp_path}/{name}: no such file or directory"


@pytest.mark.line(106)
async def test_a_file_cannot_be_listed(files: Files, tmp_path: Path):
    (tmp_path / "file").touch()
    for call in (files.list_dir(tmp_path / "file"), files.list_entries(tmp_path / "file")):
        with pytest.raises(RpcError) as error:
            await call
        assert (error.value.code, error.value.message) == (
            "invalid_argument",
            f"path is not a directory: {tmp_path}/file",
        )
    with pytest.raises(RpcError) as error:
        await files.list_dir(tmp_path / "file/below")
    assert error.value.code == "not_found"


@pytest.mark.line(107)
async def test_links_in_a_circle_cannot_be_listed(files: Files, tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(RpcError) as error:
        await files.list_dir(tmp_path / "a")
    assert error.value.code == "failed_precondition"
    assert error.value.message == f'cyclic symlink or chain >255 links at "{tmp_path}/a"'


@pytest.mark.line(108)
async def test_an_empty_directory_has_no_entries(files: Files, tmp_path: Path):
    assert await files.list_dir(tmp_path) == []
    assert await files.list_entries(tmp_path) == []


async def test_files_the_kernel_makes_up_can_be_listed(files: Files):
    own = f"/proc/{os.getpid()}"
    assert f"{own}/status" in [entry.path for entry in await files.list_dir(own)]


async def test_a_stream_has_the_same_entries_each_directory_before_its_content(files: Files, tree: Path):
    batches = await files.list_entries(tree, depth=4, batch_size=2)
    assert all(len(batch.entries) <= 2 for batch in batches)
    found = [path for batch in batches for path in paths(list(batch.entries), tree)]
    assert sorted(found) == sorted(ALL)
    for path in found:
        if "/" in path:
            assert found.index(path.rpartition("/")[0]) < found.index(path)


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 1000])
async def test_pages_together_are_the_listing(files: Files, tree: Path, page_size):
    raw = os.fsencode(tree) + b"/\xff\xfe"
    os.close(os.open(raw, os.O_CREAT))
    expected = [entry.path for entry in await files.list_dir(tree, 4)]
    found, token = [], ""
    while True:
        batches = await files.list_entries(tree, depth=4, page_size=page_size, page_token=token)
        page = [entry.path for batch in batches for entry in batch.entries]
        assert len(page) <= page_size
        assert all(not batch.next_page_token for batch in batches[:-1])
        found += page
        token = batches[-1].next_page_token
        if not token:
            break
    assert found == expected


async def test_a_page_goes_on_where_its_last_entry_was(files: Files, tree: Path):
    (batch,) = await files.list_entries(tree, depth=4, page_size=6)
    assert paths(list(batch.entries), tree)[-1] == "b/c/d/e"
    for path in ("b/c/d/e", "b/c/d"):
        (tree / path).rmdir()
    (tree / "b/c/dd").touch()
    (tree / "b/c/a").touch()  # before where the page ended
    (rest,) = await files.list_entries(tree, depth=4, page_size=100, page_token=batch.next_page_token)
    assert paths(list(rest.entries), tree) == ["b/c/dd", *ALL[ALL.index("b/c/file") :]]


@pytest.mark.parametrize("token", ["x", "====", "MQ", "ü", "MTIzNDU2Nzg5"])
async def test_a_token_that_is_none_is_invalid(files: Files, tree: Path, token):
    with pytest.raises(RpcError) as error:
        await files.list_entries(tree, page_size=1, page_token=token)
    assert error.value.code == "invalid_argument"


async def test_a_token_is_one_of_its_own_listing(files: Files, tree: Path):
    (batch,) = await files.list_entries(tree, page_size=1)
    token = batch.next_page_token
    for path, options in ((tree / "b", {"page_size": 1}), (tree, {"page_size": 1, "depth": 2}), (tree, {})):
        with pytest.raises(RpcError) as error:
            await files.list_entries(path, page_token=token, **options)
        assert error.value.code == "invalid_argument"


async def test_metadata_is_left_out_where_it_is_not_wanted(files: Files, tree: Path):
    os.setxattr(tree / "B", "user.e2b.key", b"value")
    for skip, expected in ((False, {"key": "value"}), (True, {})):
        (batch,) = await files.list_entries(tree, skip_metadata=skip)
        assert next(dict(entry.metadata) for entry in batch.entries if entry.name == "B") == expected


@pytest.mark.every_wire
async def test_who_leaves_in_the_middle_leaves_nothing_behind(files: Files, tmp_path: Path):
    for number in range(200):
        (tmp_path / f"{number}").mkdir()
    async with files.listing(tmp_path, depth=3, batch_size=1) as batches:
        assert len((await anext(batches)).entries) == 1
        batches.leave()
    assert len(await files.list_dir(tmp_path)) == 200
