"""Overwriting where no second file can be: on full disks, in the kernel's own directories, in other people's."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envd_proto.filesystem.search_pb2 import Pattern, ReplaceRequest, ReplaceResponse, Selection
from tests.support.archives import Archives
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.disks import fill, mounted, small_disk, small_ext4
from tests.support.files import form, part, post_form, put
from tests.support.filesystem import Files, WholeFiles
from tests.support.http1 import exchange
from tests.support.trusted_directories import trusted_directory
from tests.support.wires import RpcError

OLD = os.urandom(1 << 20)
SETTING = Path("/proc/sys/kernel/printk_ratelimit_burst")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can prepare this")


@pytest.fixture
def files(daemon: Daemon) -> Files:
    return Files(Client(daemon.port, Codec.PROTO))


@contextmanager
def tmpfs(directory: Path) -> Iterator[Path]:
    with small_disk(directory, "size=2m") as disk:
        yield disk


@contextmanager
def ext4(directory: Path) -> Iterator[Path]:
    with small_ext4(directory, 4 << 20) as disk:
        yield disk


@contextmanager
def overlay(directory: Path) -> Iterator[Path]:
    """A layer over another, as containers have it; files in it are of the upper one."""
    with small_disk(directory.with_name("layers"), "size=2m") as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        directory.mkdir()
        options = ",".join(f"{name}dir={layers / name}" for name in ("lower", "upper", "work"))
        with mounted(directory, "-t", "overlay", "-o", options, "overlay"):
            yield directory


@pytest.fixture(params=[tmpfs, ext4, overlay], ids=lambda kind: kind.__name__)
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file on a disk that has no room for another byte."""
    with request.param(tmp_path / "disk") as disk:
        (disk / "old").write_bytes(OLD)
        fill(disk)
        yield disk / "old"


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


def alone(path: Path) -> bool:
    """Nothing was left beside a file."""
    return not [name for name in os.listdir(path.parent) if name.startswith(".envd-")]


@pytest.mark.parametrize("size", [0, 5, 4096, (1 << 20) - 1, 1 << 20])
async def test_what_fits_into_the_old_blocks_is_written_though_the_disk_is_full(files: Files, full: Path, size: int):
    new = os.urandom(size)
    before = full.stat().st_ino
    await files.write(full, new)
    assert full.read_bytes() == new
    # An empty content needs no room, so it is written as ever.
    assert full.stat().st_ino == before or not size
    assert alone(full)


async def test_every_way_of_writing_finds_room_in_the_old_blocks(daemon: Daemon, files: Files, full: Path, tmp_path):
    first, second, third, fourth = (os.urandom(300_000) for _ in range(4))
    await WholeFiles(files.wire).write(full, first, atomic=False)
    assert full.read_bytes() == first
    assert (await put(daemon.port, full, second)).status == 200
    assert full.read_bytes() == second
    assert (await post_form(daemon.port, form([part(third)]), full)).status == 200
    assert full.read_bytes() == third
    (tmp_path / "source").write_bytes(fourth)
    wish = {"source_paths": [str(tmp_path / "source")], "destination": str(full)}
    headers = {"Content-Type": "application/json"}
    answer = await exchange(daemon.port, "POST", "/files/compose", headers=headers, body=json.dumps(wish).encode())
    assert answer.status == 200, answer.body
    assert full.read_bytes() == fourth
    assert alone(full)


async def test_text_is_replaced_in_a_file_on_a_full_disk(files: Files, full: Path):
    full.write_bytes(b"one two\n" * 1000)
    fill(full.parent, "more")
    request = ReplaceRequest(
        selection=Selection(path=str(full)), pattern=Pattern(text="two", fixed=True), replacement="2"
    )
    await files.wire.unary("filesystem.Filesystem/Replace", request, ReplaceResponse)
    assert full.read_bytes() == b"one 2\n" * 1000


async def test_what_does_not_fit_is_told_and_the_old_content_stays(daemon: Daemon, files: Files, full: Path):
    large = os.urandom(3 << 20)
    for options in ({}, {"atomic": False}, {"atomic": True}):
        await refused(files.write(full, [large], **options), "resource_exhausted")
        assert full.read_bytes() == OLD
    assert (await put(daemon.port, full, large)).status == 507
    assert (await post_form(daemon.port, form([part(large)]), full)).status == 507
    assert full.read_bytes() == OLD
    assert alone(full)


async def test_who_insists_on_atomic_is_told_that_there_is_no_room(files: Files, full: Path):
    await refused(files.write(full, b"small", atomic=True), "resource_exhausted")
    assert full.read_bytes() == OLD
    # Nor can a new file be made.
    await refused(files.write(full.with_name("new"), b"small"), "resource_exhausted")
    assert not full.with_name("new").exists()


async def test_conditions_hashes_and_modes_hold_in_place_too(files: Files, full: Path):
    full.chmod(0o4755)
    etag = (await files.stat(full)).etag
    await refused(files.write(full, b"x", if_match="other"), "failed_precondition")
    await refused(files.write(full, b"x", sha256=hashlib.sha256(b"y").digest()), "data_loss")
    assert full.read_bytes() == OLD
    await files.write(full, b"new", if_match=etag)
    assert (full.read_bytes(), full.stat().st_mode & 0o7777) == (b"new", 0o755)


async def test_without_an_inode_left_an_overwrite_is_possible_and_a_new_file_is_not(files: Files, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=4m,nr_inodes=3") as disk:
        for name in ("a", "b"):
            (disk / name).write_bytes(b"old")
        await files.write(disk / "a", b"new content")
        await files.write(disk / "b", os.urandom(2 << 20))
        await refused(files.write(disk / "c", b"x"), "resource_exhausted")
        assert ((disk / "a").read_bytes(), (disk / "b").stat().st_size) == (b"new content", 2 << 20)
        assert sorted(os.listdir(disk)) == ["a", "b"]


@needs_root
@pytest.mark.parametrize("below", ["new", "missing/new"])
async def test_who_is_helped_is_told_of_a_full_disk_and_not_of_missing_rights(
    files: Files, other_user: pwd.struct_passwd, below: str
):
    helped = files.as_user(other_user.pw_name)
    with trusted_directory() as app, small_disk(app / "disk", "size=1m,nr_inodes=2,mode=0755") as disk:
        (disk / "old").write_bytes(b"old")
        await refused(helped.write(disk / below, b"new"), "resource_exhausted")
        extraction = Archives(helped.wire).extract(disk / below, bytes(1024))
        await refused(extraction, "resource_exhausted")


async def test_content_too_large_for_memory_waits_in_the_directory_for_temporaries(files: Files, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=12m") as disk:
        (disk / "old").write_bytes(bytes(10 << 20))
        fill(disk)
        new = os.urandom(9 << 20)
        await files.write(disk / "old", [new[at : at + (1 << 20)] for at in range(0, len(new), 1 << 20)])
        assert (disk / "old").read_bytes() == new


@pytest.mark.skipif(not os.access(SETTING, os.W_OK), reason="only root may set what is tried here")
async def test_a_setting_of_the_kernel_is_written(daemon: Daemon, files: Files, tmp_path: Path):
    setting = SETTING
    before = setting.read_bytes()
    try:
        owner = setting.stat().st_uid
        await files.write(setting, b"321\n")
        assert setting.read_bytes() == b"321\n"
        assert (await put(daemon.port, setting, b"322")).status == 200
        assert setting.read_bytes() == b"322\n"
        await WholeFiles(files.wire).write(setting, b"323", atomic=False)
        assert setting.read_bytes() == b"323\n"
        await refused(files.write(setting, b"no number"), "invalid_argument")
        assert (setting.read_bytes(), setting.stat().st_uid) == (b"323\n", owner)
    finally:
        setting.write_bytes(before)


@needs_root
async def test_a_file_below_sys_is_written(files: Files):
    setting = Path("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan")
    if not os.access(setting, os.W_OK):
        pytest.skip("there is no such file here")
    before = setting.read_bytes()
    await files.write(setting, before.strip())
    assert setting.read_bytes() == before
    await refused(files.write(setting.with_name("new"), b"x"), "permission_denied")


@needs_root
async def test_a_file_in_a_directory_that_nobody_may_change_is_written(files: Files, tmp_path: Path):
    held = tmp_path / "held"
    held.mkdir()
    (held / "file").write_bytes(b"old")
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", held], check=False).returncode:
        pytest.skip("nothing can be made immutable here")
    try:
        await files.write(held / "file", b"new")
        await refused(files.write(held / "other", b"x"), "permission_denied")
        await refused(files.write(held / "file", b"x", atomic=True), "permission_denied")
        assert os.listdir(held) == ["file"]
    finally:
        subprocess.run(["chattr", "-i", held], check=True)
    assert (held / "file").read_bytes() == b"new"


@needs_root
async def test_an_immutable_file_and_a_disk_that_is_read_only_are_told(daemon: Daemon, files: Files, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        (disk / "file").write_bytes(b"old")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for options in ({}, {"atomic": False}):
            await refused(files.write(disk / "file", b"x", **options), "permission_denied")
        assert (await put(daemon.port, disk / "file", b"x")).status == 403
    (tmp_path / "ro").mkdir()
    (tmp_path / "ro/file").write_bytes(b"old")
    with mounted(tmp_path / "ro", "--bind", "-o", "ro", str(tmp_path / "ro")):
        await refused(files.write(tmp_path / "ro/file", b"x"), "permission_denied")
    assert (tmp_path / "ro/file").read_bytes() == b"old"


async def test_a_program_that_runs_is_replaced_but_not_overwritten(files: Files, tmp_path: Path):
    program = tmp_path / "program"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "1000"]) as running:
        try:
            await refused(files.write(program, b"new", atomic=False), "failed_precondition")
            assert program.read_bytes() != b"new"
            await files.write(program, b"new")
            assert program.read_bytes() == b"new"
        finally:
            running.kill()


async def test_in_place_keeps_the_inode_for_who_has_the_file_open(daemon: Daemon, files: Files, tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    with path.open("rb") as tail:
        assert tail.read() == b"first\n"
        await files.write(path, b"first\nsecond\n", atomic=False)
        assert tail.read() == b"second\n"
        answer = await put(daemon.port, path, b"first\nsecond\nthird\n", headers={"X-Envd-Atomic": "false"})
        assert answer.status == 200
        assert tail.read() == b"third\n"
    assert (await put(daemon.port, path, b"x", headers={"X-Envd-Atomic": "perhaps"})).status == 400
    os.link(path, tmp_path / "other")
    assert (await put(daemon.port, path, b"x", headers={"X-Envd-Atomic": "true"})).status == 400


async def test_a_users_file_in_roots_directory_is_still_replaced_at_once(files: Files, other_user: pwd.struct_passwd):
    with trusted_directory() as top:
        mine = top / "mine"
        mine.write_bytes(OLD)
        os.chown(mine, other_user.pw_uid, other_user.pw_gid)
        before = mine.stat().st_ino
        with mine.open("rb") as reader:
            await files.as_user(other_user.pw_name).write(mine, b"new")
            assert reader.read() == OLD
        assert (mine.read_bytes(), mine.stat().st_uid) == (b"new", other_user.pw_uid)
        assert mine.stat().st_ino != before


async def test_a_users_file_in_a_directory_of_another_user_is_written_in_place(
    files: Files, other_user: pwd.struct_passwd
):
    with trusted_directory() as theirs:
        os.chown(theirs, other_user.pw_uid + 1, other_user.pw_gid + 1)
        (theirs / "mine").write_bytes(b"old")
        os.chown(theirs / "mine", other_user.pw_uid, other_user.pw_gid)
        as_user = files.as_user(other_user.pw_name)
        await as_user.write(theirs / "mine", b"new")
        assert ((theirs / "mine").read_bytes(), os.listdir(theirs)) == (b"new", ["mine"])
        await refused(as_user.write(theirs / "other", b"x"), "permission_denied")
