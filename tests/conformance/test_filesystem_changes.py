"""MakeDir, Move, Remove, MakeSymlink and SetAttributes."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.filesystem import Files
from tests.support.wires import RpcError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def tree(root: Path) -> list[str]:
    """Everything below a directory, by its path from there."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


# MakeDir.


@pytest.mark.line(92)
async def test_a_directory_is_made_with_those_above_it(files: Files, tmp_path: Path):
    entry = await files.make_dir(tmp_path / "a/b/c/")
    assert (entry.name, entry.permissions) == ("c", "drwxr-xr-x")
    assert tree(tmp_path) == ["a", "a/b", "a/b/c"]


@pytest.mark.line(93)
async def test_a_directory_that_is_there_exists_already(files: Files, tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    for path in (tmp_path / "d", tmp_path / "link"):
        with pytest.raises(RpcError) as error:
            await files.make_dir(path)
        assert (error.value.code, error.value.message) == ("already_exists", f"directory already exists: {path}")


@pytest.mark.line(94)
async def test_a_file_where_the_directory_should_be_is_invalid(files: Files, tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    for path, text in (
        (file, f"path already exists but it is not a directory: {file}"),
        (file / "below/it", f"path is a file: {file}"),
    ):
        with pytest.raises(RpcError) as error:
            await files.make_dir(path)
        assert (error.value.code, error.value.message) == ("invalid_argument", text)


async def test_no_directory_is_made_through_a_link_that_leads_nowhere(files: Files, tmp_path: Path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(RpcError) as error:
        await files.make_dir(tmp_path / "link/below")
    assert error.value.code == "failed_precondition"
    assert tree(tmp_path) == ["link"]


# Move.


@pytest.mark.line(95, 100)
async def test_a_file_is_moved_to_where_no_directory_was(files: Files, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    entry = await files.move(tmp_path / "file", tmp_path / "a/b/moved")
    assert (entry.path, entry.name, entry.size) == (str(tmp_path / "a/b/moved"), "moved", 1)
    assert tree(tmp_path) == ["a", "a/b", "a/b/moved"]


@pytest.mark.line(96)
async def test_what_is_not_there_is_not_moved_and_leaves_no_directories(files: Files, tmp_path: Path):
    source, destination = tmp_path / "missing", tmp_path / "a/b"
    with pytest.raises(RpcError) as error:
        await files.move(source, destination)
    assert error.value.code == "not_found"
    text = f"source file not found: rename {source} {destination}: no such file or directory"
    assert error.value.message == text
    assert tree(tmp_path) == []


async def test_a_move_that_fails_takes_away_the_directories_it_made(files: Files, tmp_path: Path):
    (tmp_path / "d").mkdir()
    with pytest.raises(RpcError) as error:
        await files.move(tmp_path / "d", tmp_path / "d/into/itself")
    assert error.value.code == "invalid_argument"
    assert error.value.message.endswith("invalid argument")
    assert tree(tmp_path) == ["d"]


@pytest.mark.line(97)
async def test_an_existing_file_is_replaced(files: Files, tmp_path: Path):
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    await files.move(tmp_path / "a", tmp_path / "b")
    assert (tree(tmp_path), (tmp_path / "b").read_bytes()) == (["b"], b"new")
    await files.move(tmp_path / "b", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"new"


@pytest.mark.line(98)
@pytest.mark.parametrize("source", ["file", "directory", "empty"])
async def test_an_existing_directory_is_not_replaced(files: Files, tmp_path: Path, source):
    (tmp_path / "file").touch()
    (tmp_path / "directory/content").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RpcError) as error:
        await files.move(tmp_path / source, tmp_path / "empty")
    text = f"error renaming: rename {tmp_path}/{source} {tmp_path}/empty: file exists"
    assert (error.value.code, error.value.message) == ("already_exists", text)
    assert len(tree(tmp_path)) == 4


async def test_a_directory_does_not_replace_a_file(files: Files, tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "d").mkdir()
    with pytest.raises(RpcError) as error:
        await files.move(tmp_path / "d", tmp_path / "file")
    assert error.value.code == "invalid_argument"
    with pytest.raises(RpcError) as error:
        await files.move(tmp_path / "d", tmp_path / "file/below")
    assert (error.value.code, error.value.message) == ("invalid_argument", f"path is a file: {tmp_path}/file")


async def test_a_link_is_moved_itself(files: Files, tmp_path: Path):
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    await files.move(tmp_path / "link", tmp_path / "moved")
    assert tree(tmp_path) == ["moved", "target"]
    assert (tmp_path / "moved").readlink() == Path("target")


# Remove.


@pytest.mark.line(109)
async def test_removing_what_is_not_there_succeeds(files: Files, tmp_path: Path):
    await files.remove(tmp_path / "missing")
    await files.remove(tmp_path / "missing/below")


@pytest.mark.line(110)
async def test_a_directory_is_removed_with_everything_below_it(files: Files, tmp_path: Path):
    (tmp_path / "d/e/f").mkdir(parents=True)
    (tmp_path / "d/e/file").touch()
    (tmp_path / "d/link").symlink_to(tmp_path)
    (tmp_path / "kept").touch()
    await files.remove(tmp_path / "d")
    assert tree(tmp_path) == ["kept"]


@pytest.mark.line(111)
async def test_a_link_is_removed_and_not_what_it_leads_to(files: Files, tmp_path: Path):
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "link").symlink_to("d")
    await files.remove(tmp_path / "link")
    assert tree(tmp_path) == ["d", "d/e"]


@pytest.mark.parametrize("path", ["{}/d/.", "{}/d/..", "/", "//", "/../"])
async def test_some_paths_are_never_removed(files: Files, tmp_path: Path, path):
    (tmp_path / "d").mkdir()
    with pytest.raises(RpcError) as error:
        await files.remove(path.format(tmp_path))
    assert error.value.code == "invalid_argument"
    assert error.value.message.startswith("error removing file or directory: ")
    assert tree(tmp_path) == ["d"]


async def test_nothing_can_be_removed_below_a_file(files: Files, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(RpcError) as error:
        await files.remove(tmp_path / "file/below")
    assert (error.value.code, tree(tmp_path)) == ("invalid_argument", ["file"])


# MakeSymlink.


@pytest.mark.parametrize("target", ["../somewhere", "/absolute", "has space", "ü"])
async def test_a_link_keeps_its_text(files: Files, tmp_path: Path, target):
    entry = await files.make_symlink(tmp_path / "a/link", target)
    assert entry.link_text.decode() == target
    assert os.readlink(tmp_path / "a/link") == target


async def test_a_link_replaces_only_what_it_may(files: Files, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "d").mkdir()
    for name, overwrite in (("file", False), ("d", False), ("d", True)):
        with pytest.raises(RpcError) as error:
            await files.make_symlink(tmp_path / name, "target", overwrite=overwrite)
        assert error.value.code == "already_exists"
    await files.make_symlink(tmp_path / "file", "target", overwrite=True)
    await files.make_symlink(tmp_path / "file", "other", overwrite=True)
    assert os.readlink(tmp_path / "file") == "other"
    assert tree(tmp_path) == ["d", "file"]


@pytest.mark.parametrize("target", ["", "a\0b"])
async def test_a_link_has_a_text(files: Files, tmp_path: Path, target):
    with pytest.raises(RpcError) as error:
        await files.make_symlink(tmp_path / "made/link", target)
    assert (error.value.code, tree(tmp_path)) == ("invalid_argument", [])


# SetAttributes.


@needs_root
async def test_what_is_given_is_changed_and_the_rest_stays(files: Files, tmp_path: Path, other_user: pwd.struct_passwd):
    file = tmp_path / "file"
    file.touch(mode=0o640)
    before = file.stat()
    entry = await files.set_attributes(file, owner=other_user.pw_name)
    assert (entry.owner, entry.gid, entry.mode) == (other_user.pw_name, before.st_gid, 0o640)
    entry = await files.set_attributes(file, group="54321", mode=0o6755)
    assert (entry.uid, entry.gid, entry.st_mode & 0o7777) == (other_user.pw_uid, 54321, 0o6755)
    assert entry.modified_time.ToNanoseconds() == before.st_mtime_ns
    entry = await files.set_attributes(file, modified_time=Timestamp(seconds=1, nanos=2))
    assert entry.modified_time.ToNanoseconds() == 1_000_000_002
    entry = await files.set_attributes(file, accessed_time=Timestamp(seconds=5))
    assert (file.stat().st_atime_ns, file.stat().st_mtime_ns) == (5_000_000_000, 1_000_000_002)


@needs_root
async def test_a_link_is_followed_unless_it_is_meant(files: Files, tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    await files.set_attributes(tmp_path / "link", owner="54321", mode=0o600)
    assert (tmp_path / "file").stat().st_uid == 54321
    await files.set_attributes(tmp_path / "link", owner="54322", no_follow=True, modified_time=Timestamp(seconds=9))
    found = (tmp_path / "link").lstat()
    assert (found.st_uid, found.st_mtime, (tmp_path / "file").stat().st_uid) == (54322, 9, 54321)
    with pytest.raises(RpcError) as error:
        await files.set_attributes(tmp_path / "link", owner="0", mode=0o600, no_follow=True)
    assert (error.value.code, (tmp_path / "link").lstat().st_uid) == ("invalid_argument", 54322)


@pytest.mark.parametrize(
    "what",
    [
        {"mode": 0o10000},
        {"owner": "no-such-user"},
        {"owner": ""},
        {"group": "4294967295"},
        {"group": "-1"},
    ],
    ids=str,
)
async def test_what_cannot_be_changes_nothing(files: Files, tmp_path: Path, what):
    file = tmp_path / "file"
    file.touch(mode=0o600)
    before = file.stat()
    with pytest.raises(RpcError) as error:
        await files.set_attributes(file, **{"mode": 0o644, "accessed_time": Timestamp(seconds=5), **what})
    assert error.value.code == "invalid_argument"
    after = file.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_atime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_atime_ns,
    )


async def test_what_is_not_there_has_no_attributes(files: Files, tmp_path: Path):
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "missing", tmp_path / "link"):
        with pytest.raises(RpcError) as error:
            await files.set_attributes(path, mode=0o600)
        assert error.value.code == "not_found"
