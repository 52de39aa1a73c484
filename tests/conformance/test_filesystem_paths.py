"""Paths as clients write them, and whose is what is made."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from envd.host.paths import resolve
from envd.host.users import User
from tests.support.filesystem import Files
from tests.support.wires import RpcError

USER = User("someone", 1, 1, (1,), "/home/someone")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only a daemon that is root gives files away")


@pytest.mark.line(73)
@pytest.mark.parametrize(("path", "below"), [("~", ""), ("~/", ""), ("~/.profile", ".profile"), ("~//etc", "etc")])
async def test_a_tilde_is_the_home_of_the_user(files: Files, other_user: pwd.struct_passwd, path, below):
    for name in (".profile", "etc"):
        Path(other_user.pw_dir, name).touch()
    entry = await files.as_user(other_user.pw_name).stat(path)
    assert entry.path == str(Path(other_user.pw_dir, below))


@pytest.mark.line(74)
async def test_another_users_home_is_not_spelled_with_a_tilde(files: Files):
    for call in (files.stat("~other"), files.list_dir("~other/x"), files.write("~root/x"), files.read("~other")):
        with pytest.raises(RpcError) as error:
            await call
        assert error.value.code == "invalid_argument"
        assert "cannot expand user-specific home dir" in error.value.message


@pytest.mark.line(75)
async def test_a_relative_path_is_below_the_home(files: Files, other_user: pwd.struct_passwd):
    entry = await files.as_user(other_user.pw_name).make_dir("relative/../made/here")
    assert entry.path == f"{other_user.pw_dir}/made/here"
    await files.remove(f"{other_user.pw_dir}/made")


@pytest.mark.line(75, 76)
def test_only_the_empty_path_is_the_working_directory():
    assert resolve("x", USER, "/work") == "/home/someone/x"
    assert resolve("", USER, "/work") == "/work"
    assert resolve("", USER, "relative") == "/home/someone/relative"
    assert resolve("", USER) == "/home/someone"


@pytest.mark.line(76)
async def test_the_empty_path_is_the_home(files: Files, other_user: pwd.struct_passwd):
    entry = await files.as_user(other_user.pw_name).stat("")
    assert (entry.path, entry.name) == (other_user.pw_dir, Path(other_user.pw_dir).name)


@pytest.mark.line(77)
async def test_an_absolute_path_is_echoed_as_it_came(files: Files, tmp_path: Path):
    (tmp_path / "a").mkdir()
    for path, name in ((f"{tmp_path}/a/../a/", "a"), (f"{tmp_path}//a", "a"), (f"{tmp_path}/a/..", tmp_path.name)):
        entry = await files.stat(path)
        assert (entry.path, entry.name) == (path, name)
    assert (await files.stat("/")).name == "/"


@needs_root
@pytest.mark.line(78, 79)
async def test_what_is_made_belongs_to_the_user(files: Files, other_user: pwd.struct_passwd, home: Path):
    named = files.as_user(other_user.pw_name)
    entry = (await named.write(home / "a/b/file", b"x")).entry
    assert (entry.owner, entry.gid, entry.mode) == (other_user.pw_name, other_user.pw_gid, 0o644)
    await named.make_dir(home / "made/below")
    await named.make_symlink(home / "links/link", "nowhere")
    await named.copy(home / "a", home / "copies/copy", recursive=True)
    made = ["a", "a/b", "made", "made/below", "links", "links/link", "copies", "copies/copy/b", "copies/copy/b/file"]
    for name in made:
        found = (home / name).lstat()
        assert (found.st_uid, found.st_gid) == (other_user.pw_uid, other_user.pw_gid), name
        if name not in ("links/link", "copies/copy/b/file"):
            assert found.st_mode & 0o7777 == 0o755, name


@needs_root
@pytest.mark.line(80)
async def test_an_overwritten_file_keeps_its_mode_and_gets_the_user(
    files: Files, other_user: pwd.struct_passwd, home: Path
):
    file = home / "file"
    file.write_bytes(b"old")
    file.chmod(0o640)
    response = await files.as_user(other_user.pw_name).write(file, b"new")
    assert not response.created
    assert (response.entry.mode, response.entry.owner) == (0o640, other_user.pw_name)
    assert (file.read_bytes(), file.stat().st_uid) == (b"new", other_user.pw_uid)


@needs_root
async def test_a_user_writes_where_only_root_may_but_not_where_it_may_not_look(
    files: Files, other_user: pwd.struct_passwd, app: Path, tmp_path: Path
):
    named = files.as_user(other_user.pw_name)
    assert (await named.write(app / "x", b"x")).created
    assert (app / "x").stat().st_uid == other_user.pw_uid
    tmp_path.chmod(0o700)
    with pytest.raises(RpcError) as error:
        await named.write(tmp_path / "x", b"x")
    assert error.value.code == "permission_denied"


async def test_an_unknown_user_is_unauthenticated(files: Files):
    with pytest.raises(RpcError) as error:
        await files.as_user("nobody-of-that-name").stat("/")
    assert (error.value.code, error.value.message) == (
        "unauthenticated",
        "invalid username: 'nobody-of-that-name'",
    )


@pytest.mark.parametrize("path", ["/tmp/a\0b", "a\0", "/" + "x" * 5000])
async def test_a_path_that_cannot_be_is_invalid(files: Files, path):
    calls = [
        files.stat(path),
        files.make_dir(path),
        files.move("/etc/passwd", path),
        files.move(path, "/tmp/never"),
        files.list_dir(path),
        files.list_entries(path),
        files.read(path),
        files.write(path),
        files.copy("/etc/passwd", path),
        files.set_attributes(path, mode=0o600),
        files.make_symlink(path, "x"),
    ]
    for call in calls:
        with pytest.raises(RpcError) as error:
            await call
        assert error.value.code == "invalid_argument"


async def test_nothing_is_made_where_its_path_would_be_longer_than_the_kernel_takes(files: Files):
    path = "/" + "x/" * 3000 + "x"
    for call in (
        files.make_dir(path),
        files.write(path),
        files.move("/etc/passwd", path),
        files.make_symlink(path, "x"),
    ):
        with pytest.raises(RpcError) as error:
            await call
        assert error.value.code == "invalid_argument"
    with pytest.raises(RpcError) as error:
        await files.stat(path)
    assert error.value.code == "not_found"
