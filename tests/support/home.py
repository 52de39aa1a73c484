"""A home and a login profile of the test run's own: nothing a developer's own start files do is part of a test."""

from __future__ import annotations

import ctypes
import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HAS_HOME = "ENVD_TEST_REAL_HOME"
# What a login or interactive shell of any kind reads below the home of its user.
_START_FILES = (".profile", ".bash_profile", ".bash_login", ".bashrc", ".bash_logout", ".zprofile", ".zshrc", ".zlogin")
# unshare(2), mount(2)
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18


def real_home() -> str:
    """The home of whoever runs the tests: for package managers, which keep their settings and caches there."""
    return os.environ.get(HAS_HOME) or os.environ.get("HOME", "/")


@contextmanager
def own_home() -> Iterator[str | None]:
    """Give this process, and all it starts in the block, an empty HOME, and login shells start files that do nothing.

    What it yields is that HOME, to be removed should this process be killed; None where an outer process has it.

    A daemon gives its programs the home that the user database names, whatever its own HOME is, so a login shell reads
    the start files there. Root covers them with empty ones, in a mount namespace of the test run; without root they are
    read, except by the daemons whose session sets another HOME. The workers of pytest-xdist inherit all of it.
    """
    if HAS_HOME in os.environ:
        yield None
        return
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory(prefix="envd-home-") as directory:
        os.environ[HAS_HOME], os.environ["HOME"] = real_home(), directory
        if os.geteuid() == 0:
            _cover_start_files(pwd.getpwuid(0).pw_dir)
        try:
            yield directory
        finally:
            del os.environ[HAS_HOME], os.environ["HOME"]
            if before is not None:
                os.environ["HOME"] = before


def _cover_start_files(home: str) -> None:
    """Bind an empty file over each, where only this process and those it starts see it; nothing where that is barred.

    Not every root may mount: one in a container usually may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    there = [path for name in _START_FILES if (path := Path(home, name)).is_file()]
    if not there or libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None):
        return
    for path in there:
        libc.mount(b"/dev/null", os.fsencode(path), None, _MS_BIND, None)
