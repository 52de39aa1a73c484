"""What many tests look at is made once in a run, though they are spread over several workers."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], dict[str, Any]]
) -> tuple[dict[str, Any], Path]:
    """Return what `make` returned, and the directory of that name it was given; whoever comes first makes it.

    What it raises or skips for is for whoever made it; the next one tries again.
    """
    base = factory.getbasetemp()
    # The workers of pytest-xdist have one below that of the run.
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"once-{name}"
    directory.mkdir(exist_ok=True)
    made = directory / ".made"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.write_text(json.dumps(make(directory)))
    found: dict[str, Any] = json.loads(made.read_text())
    return found, directory
