"""Copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.filesystem import Files
from tests.support.wires import RpcError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "file").write_bytes(b"content")
    (source / "sub/script").write_bytes(b"#!")
    (source / "sub/script").chmod(0o755)
    (source / "sub").chmod(0o750)
    (source / "link").symlink_to("sub/script")
    (source / "dangling").symlink_to("/nowhere")
    os.setxattr(source / "file", "user.e2b.key", b"value")
    return source


def shape(root: Path) -> dict[str, tuple[int, object]]:
    """What is below a directory: modes, and content or link text."""
    found: dict[str, tuple[int, object]] = {}
    for path in root.rglob("*"):
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


async def test_a_file_is_copied_with_mode_and_metadata(files: Files, tree: Path, tmp_path: Path):
    (tree / "file").chmod(0o640)
    response = await files.copy(tree / "file", tmp_path / "a/b/copy")
    assert (response.entries, response.bytes, response.entry.mode) == (1, 7, 0o640)
    assert dict(response.entry.metadata) == {"key": "value"}
    assert (tmp_path / "a/b/copy").read_bytes() == b"content"


async def test_a_tree_is_copied_with_links_as_links(files: Files, tree: Path, tmp_path: Path):
    response = await files.copy(tree, tmp_path / "copy", recursive=True)
    assert shape(tmp_path / "copy") == shape(tree)
    assert (response.entries, response.bytes) == (7, 9)


async def test_a_directory_is_only_copied_if_that_is_meant(files: Files, tree: Path, tmp_path: Path):
    assert "recursive" in await refused(files.copy(tree, tmp_path / "copy"), "invalid_argument")
    assert not (tmp_path / "copy").exists()


async def test_nothing_is_overwritten_unless_it_may_be(files: Files, tree: Path, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "directory").mkdir()
    for destination in ("file", "directory"):
        for source in (tree, tree / "file", tree / "link"):
            await refused(files.copy(source, tmp_path / destination, recursive=True), "already_exists")
    assert (tmp_path / "file").read_bytes() == b"old"
    for source, destination in ((tree, "file"), (tree / "file", "directory"), (tree / "link", "directory")):
        call = files.copy(source, tmp_path / destination, recursive=True, overwrite=True)
        await refused(call, "already_exists")


async def test_directories_are_merged_and_files_replaced(files: Files, tree: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    (copy / "sub").mkdir(parents=True)
    (copy / "file").write_bytes(b"old")
    (copy / "link").write_bytes(b"old")
    (copy / "sub/kept").write_bytes(b"kept")
    await files.copy(tree, copy, recursive=True, overwrite=True)
    found = shape(copy)
    assert found.pop("sub/kept")[1] == b"kept"
    assert {name: content for name, (_, content) in found.items()} == {
        name: content for name, (_, content) in shape(tree).items()
    }


@needs_root
async def test_owner_and_times_are_kept_on_request(files: Files, tree: Path, tmp_path: Path):
    for path in (tree / "file", tree / "link", tree / "sub", tree):
        os.chown(path, 54321, 54322, follow_symlinks=False)
        os.utime(path, (1, 2), follow_symlinks=False)
    for preserve in (False, True):
        copy = tmp_path / f"copy-{preserve}"
        await files.copy(tree, copy, recursive=True, preserve=preserve)
        for path in (copy / "file", copy / "link", copy / "sub", copy):
            st = path.lstat()
            assert (st.st_uid == 54321, st.st_gid == 54322, st.st_mtime == 2) == (preserve,) * 3, path


async def test_what_cannot_be_copied_is_refused_before_anything_is(files: Files, tree: Path, tmp_path: Path):
    os.mkfifo(tree / "sub/fifo")
    for source in (tree / "sub/fifo", tree, "/dev/null"):
        await refused(files.copy(source, tmp_path / "a/copy", recursive=True), "invalid_argument")
    assert sorted(os.listdir(tmp_path)) == ["source"]


async def test_nothing_is_copied_onto_or_into_itself(files: Files, tree: Path, tmp_path: Path):
    (tmp_path / "alias").symlink_to("source")
    calls = [
        files.copy(tree, tree, recursive=True, overwrite=True),
        files.copy(tree / "file", tree / "file", overwrite=True),
        files.copy(tree, tree / "sub/copy", recursive=True),
        files.copy(tree, tmp_path / "alias/copy", recursive=True),
        files.copy(tree, tree / "new/copy", recursive=True),
    ]
    before = shape(tree)
    for call in calls:
        await refused(call, "invalid_argument")
    assert shape(tree) == before
    await files.copy(tree, tmp_path / "source-2", recursive=True)


async def test_what_is_not_there_is_not_copied(files: Files, tmp_path: Path):
    await refused(files.copy(tmp_path / "missing", tmp_path / "a/copy"), "not_found")
    assert os.listdir(tmp_path) == []
