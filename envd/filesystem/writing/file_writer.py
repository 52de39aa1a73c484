"""Contents of files on their way in. Everything here blocks: for threads, one at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from envd.errors import NO_ROOM, Code, EnvdError, NoRoomError, from_os_error

from .in_place import number_of
from .staging import StagedWrite, stage
from .target import WriteOptions
from .temporary import Temporaries

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a file is to be stored.

    Attributes:
        length: of the whole request, for messages; None if the client did not say.
        hashed: compute the SHA-256.
        sha256: and refuse a content that has another one.
    """

    intent: WriteOptions
    length: int | None = None
    hashed: bool = False
    sha256: str | None = None


class FileWriter:
    """One file: opened at its first bytes, written, then committed or abandoned. A small one can be held until then.

    Attributes:
        path: where it goes.
        sha256: of the content, once it is complete, if it was wanted.
    """

    def __init__(self, path: str, wanted: StoreOptions, temporaries: Temporaries) -> None:
        self.path = path
        self._temporaries = temporaries
        self.sha256: str | None = None
        self._wanted = wanted
        self._digest = hashlib.sha256() if wanted.hashed else None
        self._staged: StagedWrite | None = None
        self._held: bytes | None = None

    def hold(self, content: bytes) -> None:
        """Keep a whole content in memory until it is settled. Does not block."""
        self._held = content

    def settle(self) -> None:
        """Open and write what is held."""
        if self._held is not None:
            held, self._held = self._held, None
            self.open(held)
            self.complete()

    @property
    def pending(self) -> bool:
        """True while there is something to abandon."""
        return self._staged is not None

    def open(self, first: Buffer) -> None:
        """Begin, with the first bytes."""
        try:
            self._staged = stage(self.path, self._wanted.intent, self._temporaries)
        except EnvdError as exc:
            if number_of(exc) in NO_ROOM:
                raise NoRoomError(f"not enough inodes available: {exc.message}") from exc
            raise
        self.write(first)

    def write(self, data: Buffer) -> None:
        """Add bytes.

        Raises:
            NoRoomError: there is no room for them.
            EnvdError: they cannot be written.
        """
        assert self._staged is not None
        try:
            self._staged.write(data)
        except OSError as exc:
            if exc.errno in NO_ROOM:
                raise self._full() from exc
            raise from_os_error(exc, doing=f"error writing file {self.path}") from exc
        if self._digest is not None:
            self._digest.update(data)

    def complete(self) -> None:
        """Note that all bytes are here.

        Raises:
            EnvdError: INVALID_ARGUMENT if they are not those that were announced.
        """
        if self._digest is None:
            return
        self.sha256 = self._digest.hexdigest()
        if self._wanted.sha256 not in (None, self.sha256):
            raise EnvdError(
                Code.INVALID_ARGUMENT,
                f"the content of {self.path} has SHA-256 {self.sha256}, not the one announced: nothing was written",
            )

    def commit(self) -> None:
        """Put it in place."""
        assert self._staged is not None
        staged, self._staged = self._staged, None
        try:
            staged.commit()
        except EnvdError as exc:
            if exc.message.startswith("not enough space"):
                raise NoRoomError(exc.message) from exc
            if number_of(exc) in NO_ROOM:
                raise self._full() from exc
            raise

    def store(self, content: Buffer) -> None:
        """Do everything: for a content that is here already."""
        self.open(content)
        self.complete()
        self.commit()

    def abandon(self) -> None:
        """Leave what was there as it was; nothing to do after a commit."""
        if self._staged is not None:
            staged, self._staged = self._staged, None
            staged.abandon()

    def _full(self) -> NoRoomError:
        length = self._wanted.length
        attempted = f"attempted to write {length} bytes: " if length else ""
        return NoRoomError(f"{attempted}not enough disk space available")
