"""The machine's users."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from envd.errors import Code, EnvdError


@dataclass(frozen=True, slots=True)
class User:
    """One account: numeric ids, all its groups, and its home directory."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class Users:
    """Looks accounts up by name; remembers them until /etc/passwd or /etc/group changes."""

    _DATABASES = ("/etc/passwd", "/etc/group")

    def __init__(self) -> None:
        self._known: dict[str, User] = {}
        self._stamp: tuple[object, ...] = ()

    def find(self, name: str) -> User | None:
        """Return the account of that name; numeric ids are no names."""
        stamp = tuple(self._stamp_of(path) for path in self._DATABASES)
        if stamp != self._stamp:
            self._stamp = stamp
            self._known.clear()
        user = self._known.get(name)
        if user is None:
            user = _look_up(name)
            if user is not None:
                self._known[name] = user
        return user

    @staticmethod
    def _stamp_of(path: str) -> object:
        try:
            st = os.stat(path)
        except OSError:
            return None
        return st.st_mtime_ns, st.st_ino, st.st_size

    def require(self, name: str) -> User:
        """Return the account a client named.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none.
        """
        user = self.find(name)
        if user is None:
            raise EnvdError(Code.UNAUTHENTICATED, f"invalid username: '{name}'")
        return user


def _look_up(name: str) -> User | None:
    try:
        entry = pwd.getpwnam(name)
        groups = os.getgrouplist(name, entry.pw_gid)
    except (KeyError, ValueError, OSError):
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, tuple(groups), entry.pw_dir or "/")


def own_user() -> User:
    """Return the account the daemon itself runs as; one without a passwd entry is named by its number."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, gid, tuple(os.getgroups()), os.environ.get("HOME", "/"))
    return User(entry.pw_name, uid, gid, tuple(os.getgroups()), entry.pw_dir or "/")
