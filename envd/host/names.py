"""Names of owners and groups, as listings show them."""

from __future__ import annotations

import grp
import os
import pwd


class Names:
    """Looks names up by number; remembers them until /etc/passwd or /etc/group changes. Blocks; for any thread."""

    _DATABASES = ("/etc/passwd", "/etc/group")

    def __init__(self) -> None:
        self._stamp: object = None
        self._owners: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    def refresh(self) -> None:
        """Forget what may have changed; to be called once before a run of look-ups."""
        stamp = tuple(self._stamp_of(path) for path in self._DATABASES)
        if stamp != self._stamp:
            self._owners, self._groups = {}, {}
            self._stamp = stamp

    @staticmethod
    def _stamp_of(path: str) -> object:
        try:
            st = os.stat(path)
        except OSError:
            return None
        return st.st_mtime_ns, st.st_ino, st.st_size

    def owner(self, uid: int) -> str:
        """Return the name of a user, or the number if it has none."""
        known = self._owners
        name = known.get(uid)
        if name is None:
            try:
                name = pwd.getpwuid(uid).pw_name
            except (KeyError, OSError):
                name = str(uid)
            known[uid] = name
        return name

    def group(self, gid: int) -> str:
        """Return the name of a group, or the number if it has none."""
        known = self._groups
        name = known.get(gid)
        if name is None:
            try:
                name = grp.getgrgid(gid).gr_name
            except (KeyError, OSError):
                name = str(gid)
            known[gid] = name
        return name


def owner_number(text: str) -> int | None:
    """Return the number of a user, given by name or in decimal; None if there is no such name. Blocks."""
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        return _number(text)


def group_number(text: str) -> int | None:
    """Return the number of a group, given by name or in decimal; None if there is no such name. Blocks."""
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        return _number(text)


def _number(text: str) -> int | None:
    # The highest number means "leave it" to chown(2).
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 0xFFFFFFFF:
        return int(text)
    return None
