"""What is known of an upload, and how it is kept for the next server process."""

from __future__ import annotations

import dataclasses
import json
import os.path
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envd.errors import Code, EnvdError
from envd.filesystem import metadata
from envd.filesystem.writing.target import WriteOptions
from envd.host.unreadable import known_fields
from envd.host.users import User

from .extents import Extents

_MODE_LIMIT = 0o7777
_KEY_BYTES = 256
_VERSION = 2  # 0.7.0 wrote none
_LENGTH = struct.Struct("<I")  # of the JSON; the extents follow

LAST_OFFSET = 2**63 - 1
"""Of a byte in a file, and one: what lseek(2) can say."""


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """What the client asked for; see WriteOptions for what is not said here.

    Attributes:
        user: whose it is, by name.
        path: absolute.
        size: None if it was not announced.
        sha256: of the whole, in hexadecimal; None if it was not announced.
        key: empty for none.
    """

    user: str
    path: str
    size: int | None = None
    sha256: str | None = None
    key: str = ""
    mode: int | None = None
    parents: bool = True
    atomic: bool | None = None
    if_match: str | None = None
    if_absent: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    sync: bool = False

    def intent(self, owner: User, *, helped: bool) -> WriteOptions:
        """Return how the file is to be written."""
        return WriteOptions(
            owner,
            mode=self.mode,
            parents=self.parents,
            atomic=self.atomic,
            if_match=self.if_match,
            if_absent=self.if_absent,
            metadata=self.metadata,
            sync=self.sync,
            helped=helped,
        )


def checked(terms: UploadOptions) -> UploadOptions:
    """Return terms that are within bounds.

    Raises:
        EnvdError: INVALID_ARGUMENT if they are not.
    """
    metadata.check(terms.metadata)
    if terms.mode is not None and not 0 <= terms.mode <= _MODE_LIMIT:
        raise EnvdError(Code.INVALID_ARGUMENT, f"mode must be from 0 to 07777, not 0{terms.mode:o}")
    if terms.size is not None and not 0 <= terms.size <= LAST_OFFSET:
        raise EnvdError(Code.INVALID_ARGUMENT, f"size must be at most {LAST_OFFSET} bytes, not {terms.size}")
    if len(terms.key.encode()) > _KEY_BYTES:
        raise EnvdError(Code.INVALID_ARGUMENT, f"an idempotency key has at most {_KEY_BYTES} bytes")
    return terms


@dataclass(frozen=True, slots=True)
class Kept:
    """The file in which parts are gathered.

    Attributes:
        directory: absolute, without links.
        name: in it.
        device, inode: of the file, so that nothing else is taken for it.
        mode: what it gets if it becomes a new file and the client did not say.
        owner: of the file; None if not known, as in what 0.7.0 wrote.
        born_ns: when the file was made; 0 if not known. A later file may get the same inode, and be put in its place.
        elsewhere: it is not where it could take the place of the file, but will be copied into that.
    """

    directory: str
    name: str
    device: int
    inode: int
    mode: int
    owner: int | None = None
    born_ns: int = 0
    elsewhere: bool = False

    @property
    def path(self) -> str:
        """Where it is."""
        return os.path.join(self.directory, self.name)


@dataclass(frozen=True, slots=True)
class Committed:
    """A file in place.

    Attributes:
        path: with all links resolved.
        size: in bytes.
        created: nothing was there before.
    """

    path: str
    size: int
    etag: str
    created: bool


@dataclass(frozen=True, slots=True)
class UploadState:
    """All there is to know but the extents. Never changed, only replaced.

    Attributes:
        touched: when it was created, got its last part or was committed; time.monotonic(), which outlives the process.
        placing: written down just before the file takes its place, in case the server dies in that instant: whether
            nothing is there. None before.
        verified: SHA-256 of what was committed, in hexadecimal, if the commit asked for it to be compared.
    """

    terms: UploadOptions
    kept: Kept
    touched: float
    placing: bool | None = None
    committed: Committed | None = None
    verified: str | None = None


def to_bytes(ident: str, state: UploadState, extents: Extents) -> bytes:
    """Serialise for the slot of an upload."""
    head = json.dumps({"version": _VERSION, "id": ident, **dataclasses.asdict(state)}).encode()
    return _LENGTH.pack(len(head)) + head + extents.to_bytes()


def from_bytes(data: bytes) -> tuple[str, UploadState, Extents]:
    """Read back what to_bytes wrote, here or in another version: what is unknown is passed over.

    Raises:
        Exception: one of UNREADABLE; it cannot be read.
    """
    (length,) = _LENGTH.unpack_from(data)
    fields: dict[str, Any] = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    committed = fields.get("committed")
    state = UploadState(
        UploadOptions(**known_fields(UploadOptions, fields["terms"])),
        Kept(**known_fields(Kept, fields["kept"])),
        float(fields["touched"]),
        fields.get("placing"),
        committed and Committed(**known_fields(Committed, committed)),
        fields.get("verified"),
    )
    return fields["id"], state, Extents.from_bytes(data[_LENGTH.size + length :])
