"""Watching file systems whose changes are made elsewhere; a mount by bindfs (FUSE) stands for them."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import running_daemon
from tests.support.watching import Watching, said
from tests.support.wires import RpcError, Wire

DEADLINE_S = 60.0


@pytest.fixture
def behind(tmp_path: Path) -> Path:
    """The directory behind the mount: what happens here the kernel does not see there."""
    made = tmp_path / "behind"
    made.mkdir()
    return made


@pytest.fixture
def mount(tmp_path: Path, behind: Path) -> Iterator[Path]:
    if shutil.which("bindfs") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("no bindfs, or no /dev/fuse")
    made = tmp_path / "mount"
    made.mkdir()
    # Nothing is remembered of the files, as between two machines that have lost their caches.
    options = "attr_timeout=0,entry_timeout=0,negative_timeout=0"
    done = subprocess.run(["bindfs", "-o", options, behind, made], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"bindfs cannot mount: {done.stderr}")
    yield made
    subprocess.run(["umount", "--lazy", made], check=True)


@pytest.mark.line(114)
async def test_a_network_file_system_is_refused_unless_it_is_allowed(wire: Wire, mount: Path, behind: Path):
    watching = Watching(wire)
    for begin in (first, Watching.create):
        with pytest.raises(RpcError) as error:
            await begin(watching, mount)
        assert error.value.code == "invalid_argument"
        assert error.value.message.startswith(f"cannot watch path on network filesystem: {mount}")
    async with watching.stream(mount, allow_network_mounts=True) as stream:
        (behind / "file").touch()
        assert await stream.said_until("create file") == ["create file"]


async def first(watching: Watching, path: Path) -> None:
    async with watching.stream(path):
        pass


async def test_changes_behind_a_mount_are_found(wire: Wire, mount: Path, behind: Path):
    for name in ("kept", "rewritten", "removed", "restricted", "old"):
        (behind / name).write_text(name)
    (behind / "sub").mkdir()
    async with Watching(wire).stream(mount, allow_network_mounts=True, recursive=True, include_entry=True) as stream:
        (behind / "rewritten").write_text("other content")
        (behind / "removed").unlink()
        (behind / "restricted").chmod(0o600)
        (behind / "old").rename(behind / "sub" / "new")
        (behind / "made" / "below").mkdir(parents=True)
        (behind / "made" / "below" / "file").write_text("content")
        found = await stream.said_until(
            "write rewritten",
            "remove removed",
            "chmod restricted",
            "create sub/new",
            "create made",
            "create made/below",
            "create made/below/file",
            "write made/below/file",
        )
        assert {"rename old", "remove old"} & set(found)
        assert not any("kept" in event for event in found)
        (entry,) = {
            message.filesystem.entry.path
            for message in stream.messages
            if said(message.filesystem) == "write rewritten"
        }
        assert entry == f"{mount}/rewritten"


async def test_a_polled_watcher_of_a_mount_survives_the_server(mount: Path, behind: Path, open_wire):
    async with running_daemon() as daemon, open_wire(daemon.port) as wire:
        watcher = await Watching(wire).create(mount, allow_network_mounts=True)
        daemon.kill_server()
        (behind / "meanwhile").touch()
        found: list[str] = []
        async with open_wire(daemon.port) as again:
            watcher.wire = again
            async with asyncio.timeout(DEADLINE_S):
                while "create meanwhile" not in found:
                    found += [said(event) for event in (await watcher.poll()).events]
                assert watcher.overflowed
                (behind / "after").touch()
                while "create after" not in found:
                    found += [said(event) for event in (await watcher.poll()).events]
        assert len(found) == len(set(found))


async def test_a_network_file_system_mounted_below_is_not_entered(wire: Wire, mount: Path, behind: Path):
    root = mount.parent
    async with Watching(wire).stream(root, recursive=True) as stream:
        (behind / "file").touch()
        assert await stream.said() == ["create behind/file"]
