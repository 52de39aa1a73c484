"""Which directories can be watched."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import open_path, path_of
from envd.host.users import User

from .mounts import on_network


@dataclass(frozen=True, slots=True)
class WatchRoot:
    """A directory that is watched.

    Attributes:
        path: as its client knows it.
        real: the same with all links resolved.
        user: as whom the kernel checks what is looked at.
        recursive: with all directories below.
        network: also where changes may be made elsewhere.
        remote: and that is where it is.
    """

    path: str
    real: str
    user: User
    recursive: bool
    network: bool = False
    remote: bool = False


def find_top(path: str, user: User, *, recursive: bool, network: bool) -> WatchRoot:
    """Look at a directory that is to be watched. Blocks.

    Args:
        path: absolute.
        user: who watches.
        recursive: with all directories below.
        network: also on a network file system.

    Raises:
        EnvdError: NOT_FOUND if it is not there; INVALID_ARGUMENT if it is no directory, or on a network file system.
    """
    try:
        fd = open_path(path, os.O_PATH)
    except FileNotFoundError as exc:
        text = f"path {path} not found: stat {path}: no such file or directory"
        raise EnvdError(Code.NOT_FOUND, text) from exc
    except OSError as exc:
        raise from_os_error(exc, doing=f"error statting path {path}") from exc
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path {path} not a directory")
        real, remote = path_of(fd), _on_network(path, fd)
    finally:
        os.close(fd)
    if remote and not network:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"cannot watch path on network filesystem: {path}; set allow_network_mounts to watch it all the same",
        )
    return WatchRoot(os.path.normpath(path), real, user, recursive, network, remote)


def _on_network(path: str, directory: int) -> bool:
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            return on_network(fd)
        finally:
            os.close(fd)
    except OSError as exc:
        raise from_os_error(exc, doing=f"error checking mount status: {path}") from exc
