"""A unix socket that no other user can connect to, for a library that binds and connects by path.

An abstract name has no permissions: every user of the machine could use up our descriptors by connecting to it. So the
socket is bound in a directory of our own, and then both are removed. What is left is a descriptor of ours, through
which this process still reaches it: /proc/self/fd. unix(7), proc(5).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

# Small file systems in memory first: one of them is there and can be written to even where the image is read-only.
_FOLDERS = ("/dev/shm", "/run", "/tmp", "/var/tmp")


@contextlib.contextmanager
def directory() -> Iterator[str]:
    """Yield a directory that only this user can enter; it is removed with what is in it.

    Raises:
        OSError: there is no file system that can be written to.
    """
    path = _make()
    try:
        yield path
    finally:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)


def _make() -> str:
    failed: OSError | None = None
    for folder in _FOLDERS:
        try:
            return tempfile.mkdtemp(prefix="envd-", dir=folder)
        except OSError as exc:
            failed = exc
    raise OSError("no directory for a socket can be made in " + ", ".join(_FOLDERS)) from failed


def only_here(path: str) -> str:
    """Return a path to the socket that holds in this process alone, also when the one it has now is removed."""
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_CLOEXEC)}"
