"""Users of the machine that exist for a test."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def temporary_user() -> Iterator[pwd.struct_passwd]:
    """A new user with a home and, where there is one, a supplementary group; removed afterwards. Skips without root."""
    if os.geteuid() != 0:
        pytest.skip("only root can add a user")
    name = f"envd-{uuid.uuid4().hex[:12]}"
    extra = [group.gr_name for group in grp.getgrall() if group.gr_name == "users"]
    groups = ["--groups", extra[0]] if extra else []
    _run("useradd", "--create-home", "--shell", "/bin/sh", *groups, name)
    try:
        yield pwd.getpwnam(name)
    finally:
        _run("userdel", "--force", "--remove", name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
