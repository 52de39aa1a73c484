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
