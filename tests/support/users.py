"""Users of the machine that exist for a test."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def let_through(path: Path) -> None:
    """Let every user go as far as a directory of the test's: pytest's own ones above it are for their owner only."""
    for above in (path, *path.parents):
        # Beyond the directory for temporary files they are not the test's to change.
        if Path(tempfile.gettempdir()) not in above.parents:
            return
        above.chmod(stat.S_IMODE(above.stat().st_mode) | 0o055)


def command_as(user: str, *command: str) -> list[str]:
    """The command line that runs a command as a user; the pid stays the same. Skips without root or setpriv(1).

    Where that user may not read the interpreter (one below /root), the command keeps the right to read everything and
    no other.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root with setpriv can run a daemon as another user")
    switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    # setpriv still has root's rights when it executes the command, so the command itself has to try.
    probe = subprocess.run([*switch, "cat", command[0]], capture_output=True, timeout=60, check=False)
    if probe.returncode:
        switch += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*switch, "--", *command]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
