"""What a server that dies leaves behind in people's directories, so that the next one can clear it away.

See docs/decisions/0008-uploads-never-destroy.md.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from envd.errors import EnvdError
from envd.filesystem.access import acting_as, open_parent
from envd.filesystem.file_identity import FileIdentity, identity_of
from envd.filesystem.removal import remove_known
from envd.host.unreadable import UNREADABLE, known_fields
from envd.host.users import User

from .hidden_names import TEMPORARY

log = logging.getLogger("envd.filesystem")

# One page: a signal is acted on between the pages of a write, so a note is there whole or not at all.
_SLOT_BYTES = 4096
_LENGTH_BYTES = 2
_NOTE_BYTES = _SLOT_BYTES - _LENGTH_BYTES
_SLOTS = 4096
_FIELDS = 0x8000  # in the length: it is that of fields in JSON; 0.7.0 wrote the path alone
_VERSION = 2
_NO_ID = 0xFFFFFFFF
_MOST_GROUPS = 64  # who has fewer rights removes no more
_IDENTITY_BYTES = 128  # at most, as it is written down
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Left:
    """What is written down of a temporary.

    Attributes:
        path: absolute.
        uid, gid, groups: with whose rights it is made; uid is None in what 0.7.0 wrote: the daemon's own.
        identity: of what has the name; None if that is not known.
    """

    path: str
    uid: int | None = None
    gid: int = 0
    groups: tuple[int, ...] = ()
    identity: FileIdentity | None = None

    def user(self) -> User | None:
        """Return as whom it is removed; None for the daemon itself."""
        return None if self.uid is None else User("", self.uid, self.gid, self.groups, "/")


class Note:
    """That there may be a temporary."""

    def __init__(self, record: TempRegistry, left: _Left, slot: int | None) -> None:
        self._record = record
        self._left = left
        self._slot = slot

    @property
    def identity(self) -> FileIdentity | None:
        """Of the temporary; None as long as that is not known."""
        return self._left.identity

    def made(self, fd: int) -> None:
        """Take down which one it is, once it is made and open. A directory is empty still, and open for reading.

        Without that nothing that is in it is ever removed.
        """
        if stat.S_ISDIR(os.fstat(fd).st_mode) and os.listdir(fd):
            return  # somebody has put another one in its place
        self._left = replace(self._left, identity=identity_of(fd))
        if self._slot is not None:
            self._record.write(self._slot, _to_bytes(self._left))


class TempRegistry:
    """Hidden temporaries that exist now, in a file in memory that outlives this process.

    There is room for 4096 at once, each with a path of at least 3000 bytes. What does not fit is not noted: it works as
    well, but stays where it is if the server dies before it has its place.

    Args:
        fd: of a memfd, which stays the caller's. One process at a time uses it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        used = min(os.fstat(fd).st_size // _SLOT_BYTES + 1, _SLOTS)
        self._old = {slot: left for slot in range(used) if (left := self._read(slot)) is not None}
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in self._old]

    @contextlib.contextmanager
    def noted(self, path: str, fd: int | None = None) -> Iterator[Note]:
        """Note an absolute path for as long as a temporary may be there, which this thread makes with its rights now.

        Args:
            path: empty if nobody knows: nothing is written down.
            fd: of what will have the name, if it is there already.
        """
        left = _Left(path, os.geteuid(), os.getegid(), tuple(os.getgroups()))
        if fd is not None:
            left = replace(left, identity=identity_of(fd))
        data = _to_bytes(left)
        # Room for an identity that comes later.
        slot = self._take() if path and len(data) <= _NOTE_BYTES - _IDENTITY_BYTES else None
        try:
            if slot is not None:
                self.write(slot, data)
            yield Note(self, left, slot)
        finally:
            if slot is not None:
                self._clear(slot)

    def remove(self) -> None:
        """Remove what an earlier server left, with the rights it was made with. Blocks.

        What is in it goes, too, if it is known to be what was noted. Otherwise a file or an empty directory goes, as
        whoever may rename it could have it removed anyway.
        """
        for slot, left in self._old.items():
            # Anybody can have made it something else since; but nobody else gives names like these.
            if TEMPORARY.fullmatch(os.path.basename(left.path)):
                _remove(left)
            self._clear(slot)
        self._old = {}

    def write(self, slot: int, data: bytes) -> None:
        """Write down what a note says."""
        os.pwrite(self._fd, (len(data) | _FIELDS).to_bytes(_LENGTH_BYTES, "big") + data, slot * _SLOT_BYTES)

    def _take(self) -> int | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _clear(self, slot: int) -> None:
        os.pwrite(self._fd, bytes(_LENGTH_BYTES), slot * _SLOT_BYTES)
        with self._lock:
            self._free.append(slot)

    def _read(self, slot: int) -> _Left | None:
        data = os.pread(self._fd, _SLOT_BYTES, slot * _SLOT_BYTES)
        length = int.from_bytes(data[:_LENGTH_BYTES], "big")
        if not length & _FIELDS:
            return _Left(os.fsdecode(data[_LENGTH_BYTES : _LENGTH_BYTES + length])) if length else None
        try:
            return _from_bytes(data[_LENGTH_BYTES : _LENGTH_BYTES + length - _FIELDS])
        except UNREADABLE:
            return None


def _to_bytes(left: _Left) -> bytes:
    fields: dict[str, object] = {"version": _VERSION, "path": left.path, "uid": left.uid, "gid": left.gid}
    fields["groups"] = left.groups[:_MOST_GROUPS]
    if (known := left.identity) is not None:
        fields["identity"] = {"device": known.device, "inode": known.inode, "born_ns": known.born_ns}
    return _JSON.encode(fields).encode("utf-8", "surrogateescape")


def _from_bytes(data: bytes) -> _Left:
    """Read back what _to_bytes wrote, here or in another version.

    Raises:
        Exception: one of UNREADABLE; it cannot be read.
    """
    fields: dict[str, Any] = json.loads(data.decode("utf-8", "surrogateescape"))
    known = fields.get("identity")
    identity = None if known is None else FileIdentity(**known_fields(FileIdentity, known))
    left = _Left(str(fields["path"]), _id(fields["uid"]), _id(fields["gid"]), tuple(map(_id, fields["groups"])))
    return replace(left, identity=identity)


def _id(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < _NO_ID:
        raise ValueError("no id of a user or group")
    return value


def _remove(left: _Left) -> None:
    try:
        user = left.user()
        with contextlib.nullcontext() if user is None else acting_as(user):
            _remove_here(left)
    except FileNotFoundError:
        return
    except (OSError, EnvdError, ValueError) as exc:
        log.warning("a temporary of an earlier server stays", extra={"errno": getattr(exc, "errno", None)})
    else:
        log.info("removed a temporary of an earlier server")


def _remove_here(left: _Left) -> None:
    directory, name = open_parent(left.path)
    try:
        remove_known(directory, name, left.identity)
    finally:
        os.close(directory)
