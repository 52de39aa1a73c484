"""File systems of their own, for tests that fill them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(directory: Path, options: str) -> Iterator[Path]:
    """A file system of its own in memory; skips where none can be mounted."""
    directory.mkdir()
    with mounted(directory, "-t", "tmpfs", "-o", options, "tmpfs"):
        yield directory


@contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[None]:
    """Something mounted for the length of a block; skips where it cannot be."""
    done = subprocess.run(["mount", *arguments, target], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)


@contextmanager
def small_ext4(directory: Path, size_bytes: int) -> Iterator[Path]:
    """An ext4 of its own in a file beside the directory; skips where none can be made or mounted."""
    image = directory.with_name(f"{directory.name}.image")
    with image.open("wb") as file:
        file.truncate(size_bytes)
    try:
        # No journal and no reserve: so that what is counted as free can be used up.
        made = subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=False)
    except FileNotFoundError:
        pytest.skip("mkfs.ext4 is not installed")
    if made.returncode:
        pytest.skip("no ext4 can be made here")
    directory.mkdir()
    with mounted(directory, "-o", "loop", str(image)):
        yield directory


def fill(disk: Path, name: str = "filler") -> None:
    """Use up all blocks of a file system."""
    with (disk / name).open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


@contextmanager
def quota_disk(directory: Path, size_bytes: int) -> Iterator[Path]:
    """A subvolume of a btrfs that may have so many bytes, on a disk with more room; skips where none can be made."""
    image, top = directory.with_name(f"{directory.name}.image"), directory.with_name(f"{directory.name}.top")
    with image.open("wb") as file:
        file.truncate(128 << 20)
    try:
        made = subprocess.run(["mkfs.btrfs", "-q", image], check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("mkfs.btrfs is not installed")
    if made.returncode:
        pytest.skip("no btrfs can be made here")
    top.mkdir()
    with mounted(top, "-o", "loop", str(image)):
        for command in (
            ["quota", "enable", str(top)],
            ["subvolume", "create", str(top / "limited")],
            ["qgroup", "limit", str(size_bytes), str(top / "limited")],
        ):
            if subprocess.run(["btrfs", *command], check=False, capture_output=True).returncode:
                pytest.skip("no quota can be set here")
        yield top / "limited"
