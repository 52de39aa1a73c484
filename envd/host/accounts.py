"""The users and groups in /etc, read without the C library: it may ask a directory service, which may not answer."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass

_PASSWD, _GROUP, _SOURCES = "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"
_SOURCES_S = 1.0  # so often is looked whether they have changed, and for users every time
_HERE = {"files", "compat"}
_PASSWD_FIELDS = 7
_GROUP_FIELDS = 4


@dataclass(frozen=True, slots=True)
class PasswdEntry:
    """A line of /etc/passwd, as far as it matters here."""

    name: str
    uid: int
    gid: int
    home: str


class Accounts:
    """The users and groups that the files name now. Reads them again when they have changed; for any thread.

    Attributes:
        stamp: another one when the files have changed, after `refresh`.
        users_elsewhere, groups_elsewhere: other sources may know more, says /etc/nsswitch.conf.
    """

    def __init__(self) -> None:
        self.stamp: tuple[object, ...] | None = None
        self.users_elsewhere = self.groups_elsewhere = False
        self._users = self._groups = b""
        self._sources: object = None
        self._sources_at = -_SOURCES_S

    def refresh(self) -> bool:
        """Read what has changed; return whether something has."""
        now = time.monotonic()
        if now - self._sources_at >= _SOURCES_S:
            self._sources_at, self._sources = now, _stamp_of(_SOURCES)
        stamp = (_stamp_of(_PASSWD), _stamp_of(_GROUP), self._sources)
        if stamp == self.stamp:
            return False
        self._users, self._groups = b"\n" + _content(_PASSWD), b"\n" + _content(_GROUP)
        sources = _content(_SOURCES).decode(errors="replace")
        self.users_elsewhere = _elsewhere(sources, "passwd")
        self.groups_elsewhere = _elsewhere(sources, "group") or _elsewhere(sources, "initgroups")
        self.stamp = stamp
        return True

    def user(self, name: str) -> PasswdEntry | None:
        """Return the account of a name."""
        line = _line(self._users, b"\n" + os.fsencode(name) + b":") if _is_name(name) else None
        return None if line is None else _account(line)

    def user_by_number(self, uid: int) -> PasswdEntry | None:
        """Return the first account of a number."""
        match = re.search(rb"\n([^:\n]*:[^:\n]*:%d:[^\n]*)" % uid, self._users)
        return None if match is None else _account(match[1])

    def groups_of(self, name: str, gid: int) -> tuple[int, ...]:
        """Return the groups of an account, its own first."""
        groups = [gid]
        for line in re.findall(rb"\n([^\n]*[:,]%s(?:,[^\n]*)?)(?=\n|$)" % re.escape(os.fsencode(name)), self._groups):
            fields = line.split(b":")
            if len(fields) == _GROUP_FIELDS and os.fsencode(name) in fields[3].strip().split(b","):
                number = _number(fields[2])
                if number is not None and number not in groups:
                    groups.append(number)
        return tuple(groups)

    def group_name(self, gid: int) -> str | None:
        """Return the name of a group."""
        match = re.search(rb"\n([^:\n]+):[^:\n]*:%d:" % gid, self._groups)
        return None if match is None else os.fsdecode(match[1])

    def group_number(self, name: str) -> int | None:
        """Return the number of a group."""
        line = _line(self._groups, b"\n" + os.fsencode(name) + b":") if _is_name(name) else None
        fields = (line or b"").split(b":")
        return _number(fields[2]) if len(fields) == _GROUP_FIELDS else None


def number_from(text: str) -> int | None:
    """Return the number of a user or group that a text is in decimal, None if it is none."""
    return _number(os.fsencode(text)) if text.isascii() else None


def _is_name(name: str) -> bool:
    return bool(name) and not set(name) & set(":\n\0") and name[0] not in "+-"


def _account(line: bytes) -> PasswdEntry | None:
    fields = line.split(b":")
    if len(fields) < _PASSWD_FIELDS:
        return None
    uid, gid = _number(fields[2]), _number(fields[3])
    if uid is None or gid is None:
        return None
    return PasswdEntry(os.fsdecode(fields[0]), uid, gid, os.fsdecode(fields[5]) or "/")


def _number(text: bytes) -> int | None:
    # The highest number means "leave it" to chown(2).
    if text.isdigit() and len(text) <= len("4294967295") and int(text) < 0xFFFF_FFFF:
        return int(text)
    return None


def _line(data: bytes, begin: bytes) -> bytes | None:
    begin_of_line = data.find(begin)
    if begin_of_line < 0:
        return None
    end = data.find(b"\n", begin_of_line + 1)
    return data[begin_of_line + 1 : end if end >= 0 else len(data)]


def _elsewhere(sources: str, database: str) -> bool:
    """Return whether a line of nsswitch.conf(5) names more than the files; without such a line it is they alone."""
    for line in sources.splitlines():
        name, colon, named = line.partition("#")[0].partition(":")
        if colon and name.strip() == database:
            return bool(set(re.sub(r"\[[^]]*\]", " ", named).split()) - _HERE)
    return False


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _stamp_of(path: str) -> object:
    try:
        st = os.stat(path)
    except OSError:
        return None
    return st.st_mtime_ns, st.st_ino, st.st_size
