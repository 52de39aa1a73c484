"""Owners of extracted entries. Looking names up blocks: call it from a thread."""

from __future__ import annotations

from collections.abc import Callable

from envd.errors import Code, EnvdError
from envd.host.names import group_number, owner_number

from .tarstream.member import Member

_MOST = 0xFFFF_FFFE  # the number above means "leave it" to chown(2)
_MOST_KNOWN = 4096


def by_numbers(member: Member) -> tuple[int, int]:
    """Return the numbers in the archive.

    Raises:
        EnvdError: INVALID_ARGUMENT if they are none that a user or group can have.
    """
    if member.uid > _MOST or member.gid > _MOST:
        raise EnvdError(
            Code.INVALID_ARGUMENT, f"{member.name} in the archive belongs to {member.uid}:{member.gid}: no such numbers"
        )
    return member.uid, member.gid


class ByNames:
    """Finds the users and groups of the names in an archive; those that are not known here go by their numbers.

    Remembers up to 4096 names of each kind, then begins anew.
    """

    def __init__(self) -> None:
        self._owners: dict[str, int | None] = {}
        self._groups: dict[str, int | None] = {}

    def __call__(self, member: Member) -> tuple[int, int]:
        """Return user and group of an entry."""
        uid, gid = by_numbers(member)
        owner = _known(member.owner, self._owners, owner_number)
        group = _known(member.group, self._groups, group_number)
        return uid if owner is None else owner, gid if group is None else group


def _known(name: str, ids: dict[str, int | None], look_up: Callable[[str], int | None]) -> int | None:
    if not name:
        return None
    if name not in ids:
        if len(ids) >= _MOST_KNOWN:
            ids.clear()
        try:
            ids[name] = look_up(name)
        except (OSError, UnicodeError):
            ids[name] = None
    return ids[name]
