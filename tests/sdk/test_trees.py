"""Whole directories, up and down."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from pathlib import Path

import pytest

from envd_sdk import ConflictException, FileNotFoundException, InvalidArgumentException, SandboxException
from tests.support.daemon import Daemon
from tests.support.proxy import proxy_to


def make(root: Path) -> None:
    chance = random.Random(1)
    (root / "sub" / "deeper" / ("long" * 40)).mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a").write_text("first")
    (root / "sub" / "b").write_bytes(chance.randbytes(700_001))
    (root / "sub" / "deeper" / ("long" * 40) / "ünï").write_text("deep")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    os.symlink("sub/b", root / "link")
    os.link(root / "a", root / "same")


def content(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return found


async def test_a_directory_goes_up_and_comes_down(sandbox, concurrency, tmp_path):
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    here.mkdir()
    make(here)
    sent: list[int] = []
    info = await concurrency.call(sandbox.files.upload_dir, str(here), str(there), on_progress=sent.append)
    assert content(there) == content(here)
    assert (info.path, info.entries) == (str(there), len(content(here)))
    assert sent == sorted(sent)
    come: list[int] = []
    info = await concurrency.call(sandbox.files.download_dir, str(there), str(back), on_progress=come.append)
    assert content(back) == content(here)
    assert (info.path, info.left_out) == (str(back), ())
    assert come == sorted(come)


async def test_what_is_excluded_stays(sandbox, concurrency, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    make(here)
    await concurrency.call(sandbox.files.upload_dir, str(here), str(tmp_path / "up"), exclude=["*.sh", "sub/deeper"])
    names = set(content(tmp_path / "up"))
    assert names == {"a", "same", "link", "empty", "sub", "sub/b"}
    await concurrency.call(
        sandbox.files.download_dir, str(here), str(tmp_path / "down"), exclude=["*.sh", "sub/deeper"]
    )
    assert set(content(tmp_path / "down")) == names


async def test_it_is_merged_with_what_is_there(sandbox, concurrency, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for root, name in ((here, "new"), (there, "old")):
        root.mkdir()
        (root / "both").write_text(name)
        (root / name).write_text(name)
    await concurrency.call(sandbox.files.upload_dir, str(here), str(there))
    assert {path.name: path.read_text() for path in there.iterdir()} == {"both": "new", "old": "old", "new": "new"}


async def test_links_that_lead_out_are_refused(sandbox, concurrency, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    os.symlink("/etc/passwd", here / "link")
    with pytest.raises(InvalidArgumentException):
        await concurrency.call(sandbox.files.upload_dir, str(here), str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()
    await concurrency.call(sandbox.files.upload_dir, str(here), str(tmp_path / "there"), outside_links=True)
    assert os.readlink(tmp_path / "there" / "link") == "/etc/passwd"
    with pytest.raises(SandboxException):
        await concurrency.call(sandbox.files.download_dir, str(here), str(tmp_path / "back"))


async def test_what_comes_down_is_never_written_through_a_link(sandbox, concurrency, tmp_path):
    there, here, outside = tmp_path / "there", tmp_path / "here", tmp_path / "outside"
    (there / "d").mkdir(parents=True)
    (there / "f").write_text("theirs")
    (there / "f").chmod(0o4755)
    here.mkdir()
    outside.write_text("mine")
    (here / "f").symlink_to(outside)
    await concurrency.call(sandbox.files.download_dir, str(there), str(here))
    assert (outside.read_text(), (here / "f").read_text()) == ("mine", "theirs")
    assert stat.S_IMODE((here / "f").stat().st_mode) == 0o755
    (here / "d").rmdir()
    (here / "d").symlink_to(tmp_path)
    (there / "f").write_text("newer")
    with pytest.raises(ConflictException):
        await concurrency.call(sandbox.files.download_dir, str(there), str(here))
    assert (here / "f").read_text() == "theirs"


async def test_holes_and_names_that_are_not_utf8_go_up_and_come_down(sandbox, concurrency, tmp_path):
    here, there, back = (os.fsencode(tmp_path / name) for name in ("here", "there", "back"))
    os.makedirs(here + b"/d\xff")
    with open(here + b"/d\xff/f\xfe", "wb") as file:
        file.write(b"begin")
        file.seek(3_000_000)
        file.write(b"end")
    os.symlink(b"d\xff/f\xfe", here + b"/l")
    await concurrency.call(sandbox.files.upload_dir, os.fsdecode(here), os.fsdecode(there))
    await concurrency.call(sandbox.files.download_dir, os.fsdecode(there), os.fsdecode(back))
    for copy in (there, back):
        assert Path(os.fsdecode(copy + b"/d\xff/f\xfe")).read_bytes() == b"begin" + bytes(2_999_995) + b"end"
        assert os.readlink(copy + b"/l") == b"d\xff/f\xfe"


async def test_what_is_not_there(sandbox, concurrency, tmp_path):
    with pytest.raises(FileNotFoundException):
        await concurrency.call(sandbox.files.download_dir, str(tmp_path / "nothing"), str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()
    with pytest.raises(InvalidArgumentException, match="no directory"):
        await concurrency.call(sandbox.files.upload_dir, str(tmp_path / "nothing"), str(tmp_path / "there"))


async def test_a_broken_connection_costs_nothing(concurrency, daemon: Daemon, tmp_path):
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    here.mkdir()
    (here / "large").write_bytes(random.Random(3).randbytes(15_000_000))
    async with proxy_to(daemon.port) as proxy:
        loop = asyncio.get_running_loop()
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{proxy.port}")
        for function, arguments in (
            (sandbox.files.upload_dir, (str(here), str(there))),
            (sandbox.files.download_dir, (str(there), str(back))),
        ):
            todo = [6_000_000]

            def progress(moved: int, todo: list[int] = todo) -> None:
                if todo and moved >= todo[0]:
                    todo.pop()
                    loop.call_soon_threadsafe(proxy.cut)

            await concurrency.call(function, *arguments, on_progress=progress)
            assert not todo
        assert content(back) == content(there) == content(here)
        await concurrency.call(sandbox.close)
