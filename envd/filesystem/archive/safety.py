"""Checks names and links in an archive, so that nothing outside the target is touched."""

from __future__ import annotations

import os

from envd.errors import Code, EnvdError

from .tarstream.member import Member

LONGEST_NAME_BYTES = 16 * 1024
"""The longest name of an entry, in bytes: names grow with the square of a tree's depth."""

_LONGEST_TEXT_BYTES = 4096  # of a link; symlink(2)

Parts = tuple[str, ...]


def parts_of(name: str) -> Parts:
    """Return the parts of a name; none for the target itself.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is absolute, leads upwards, has a NUL byte, or is too long.
    """
    parts = tuple(name.split("/"))
    if "" in parts or "." in parts:
        parts = tuple(part for part in parts if part not in ("", "."))
    if name.startswith("/"):
        raise _refused(name, "an absolute name")
    if ".." in parts:
        raise _refused(name, "a name with '..'")
    if "\0" in name:
        raise _refused(name.replace("\0", "\\0"), "a name with a NUL byte")
    if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
        raise _refused(name[:80] + "...", f"a name of more than {LONGEST_NAME_BYTES} bytes")
    return parts


def check_text(member: Member) -> None:
    """Check that a symbolic link can have its text.

    Raises:
        EnvdError: INVALID_ARGUMENT.
    """
    if not member.link or "\0" in member.link or len(os.fsencode(member.link)) >= _LONGEST_TEXT_BYTES:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"{member.name} in the archive is a symbolic link whose target is empty, has a NUL byte, or has more than "
            f"{_LONGEST_TEXT_BYTES - 1} bytes: leave it out",
        )


def check_symlink(member: Member, parts: Parts) -> None:
    """Check that a symbolic link stays within the target, whatever other links of the archive it leads through.

    So `..` may only stand at its beginning, where the directories are known to be none of the archive's links.

    Raises:
        EnvdError: INVALID_ARGUMENT.
    """
    steps = [step for step in member.link.split("/") if step not in ("", ".")]
    up = 0
    while up < len(steps) and steps[up] == "..":
        up += 1
    if member.link.startswith("/") or up >= len(parts) or ".." in steps[up:]:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"{member.name} in the archive is a link that leads, or may lead, outside: {member.link[:200]}; "
            "set outside_links to take it as it is",
        )


def _refused(name: str, entry: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"the archive has {entry}, which is refused: {name}")
