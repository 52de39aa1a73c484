"""Directories that only root can have laid."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def trusted_directory() -> Iterator[Path]:
    """A new directory of root's, mode 0755, below others of root's alone; removed afterwards. Skips without one."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory that is root's")
    for above in ("/opt", "/srv", "/var/lib"):
        parts = [Path(above), *Path(above).parents]
        if all(path.is_dir() and path.stat().st_uid == 0 and not path.stat().st_mode & 0o022 for path in parts):
            made = Path(tempfile.mkdtemp(dir=above))
            break
    else:
        pytest.skip("no directory of the machine is writable for root alone")
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)
