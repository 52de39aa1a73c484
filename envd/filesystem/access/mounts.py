"""Mounts: the one an entry lies on, and the part of the file system it shows. Everything here blocks."""

from __future__ import annotations


def mount_of(fd: int) -> str:
    """Return the line of /proc that says on which mount an open file is.

    Raises:
        OSError: there is none.
    """
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        return next((line for line in lines if line.startswith("mnt_id:")), "")


def root_of_mount(mount: str) -> str:
    """Return which part of its file system a mount shows, as a path from that one's root on; empty if nobody can tell.

    Args:
        mount: as mount_of says it.

    Raises:
        OSError: nobody can tell.
    """
    number = mount.removeprefix("mnt_id:").strip()
    with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
        return next((fields[3] for fields in map(str.split, lines) if fields[0] == number), "")
