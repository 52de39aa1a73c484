"""Owner, mode and extended attributes of open files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from envd.host.users import User

_ACL = "system.posix_acl_access"
# The kernel drops these when a file's content is written, as it should be here.
_OF_THE_CONTENT = ("security.capability", "security.ima", "security.evm")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def give(fd: int, owner: User) -> None:
    """Give an open file to a user and its primary group, unless it is theirs already.

    Without root a file that others own and that can be written stays theirs.
    """
    st = os.fstat(fd)
    if (st.st_uid, st.st_gid) == (owner.uid, owner.gid):
        return
    try:
        os.fchown(fd, owner.uid, owner.gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise


def kept_mode(st: os.stat_result) -> int:
    """Return the mode a file keeps when its content is replaced: without set-id bits, as the kernel's own writes."""
    return stat.S_IMODE(st.st_mode) & ~(stat.S_ISUID | stat.S_ISGID)


def copy_extended(source: str | int, target: int, *, follow: bool = True) -> None:
    """Give an open file the extended attributes of another one, its access control list included. Blocks.

    What the file system or the rights of this thread do not allow is left out.

    Args:
        source: open, or a path that leads to it.
        target: open.
        follow: a link at the end of the path.

    Raises:
        OSError: there is no room.
    """
    try:
        names = os.listxattr(source, follow_symlinks=follow)
    except OSError:
        names = []
    if _ACL not in names:
        with contextlib.suppress(OSError):  # none was inherited from the directory
            os.removexattr(target, _ACL)
    for name in names:
        if name in _OF_THE_CONTENT:
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=follow))
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                raise


def chown_if_other(file: str | int, uid: int, gid: int) -> bool:
    """Give a file, open or by path, to a user and group unless it is theirs already; return whether it is theirs.

    What may not be given away stays whose it is, unless this thread acts as root.
    """
    st = os.stat(file)
    if (st.st_uid, st.st_gid) == (uid, gid):
        return True
    try:
        os.chown(file, uid, gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise
        return False
    return True
