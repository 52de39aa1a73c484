"""Makes an archive in runs of bytes, compressed if asked for. Everything here blocks: call it from a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import acting_as, open_path, path_of, reopen
from envd.filesystem.globs import Globs
from envd.filesystem.walking import open_down
from envd.host.names import NameCache
from envd.host.users import User

from .archiver import Archiver
from .summary import ArchiveSummary
from .tarstream import compression
from .tarstream.compression import Format
from .writing import TarWriter

_RUN_BYTES = 512 * 1024
_MOST_MEMBERS = 10_000
_MOST_PATTERNS = 100
_MOST_BYTES = 4096  # of a pattern


@dataclass(frozen=True, slots=True)
class ArchiveRequest:
    """A directory or file to archive, and the options.

    Attributes:
        path: absolute; links are followed.
        user: as whom the kernel checks what is read.
        members: relative paths within it; empty for all of it.
        exclude: patterns of what is left out.
    """

    path: str
    user: User
    members: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    form: Format = Format.TAR


class ArchiveStream:
    """Yields the runs of one archive, in order.

    Args:
        path: with all links resolved.

    Attributes:
        sent: bytes of archive so far.
    """

    def __init__(self, path: str, wish: ArchiveRequest, packing: Archiver) -> None:
        self.path = path
        self.form = wish.form
        self._user = wish.user
        self.sent = 0
        self._packing = packing
        self._packer = compression.packer(wish.form)
        self._pieces: Generator[bytes, None, None] = packing.pieces()
        self._ended = False

    @property
    def inventory(self) -> ArchiveSummary:
        """What is in it so far."""
        return self._packing.writer.inventory

    def next_run(self) -> bytes:
        """Return the next run, of at most about 1.5 MiB; empty at the end.

        Raises:
            EnvdError: what was asked for cannot be read; ABORTED if a file became shorter.
        """
        run = b""
        with acting_as(self._user):
            while not run and not self._ended:
                run = self._packed(self._collected())
        self.sent += len(run)
        return run

    def _collected(self) -> bytes:
        pieces, size = [], 0
        try:
            for piece in self._pieces:
                pieces.append(piece)
                size += len(piece)
                if size >= _RUN_BYTES:
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        except OSError as exc:
            raise from_os_error(exc, doing=f"archive {self.path}") from exc
        self._ended = True
        return b"".join(pieces)

    def _packed(self, data: bytes) -> bytes:
        packed = self._packer.pack(data)
        return packed + self._packer.end() if self._ended else packed

    def close(self) -> None:
        """Let go of everything."""
        with closing(self._pieces):
            pass
        self._packing.close()


def _excluded(patterns: tuple[str, ...]) -> Globs:
    if len(patterns) > _MOST_PATTERNS:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{len(patterns)} patterns to exclude: at most {_MOST_PATTERNS}")
    for pattern in patterns:
        if not pattern.strip("/") or len(os.fsencode(pattern)) > _MOST_BYTES:
            text = f"a pattern to exclude has 1 to {_MOST_BYTES} bytes: '{pattern[:80]}'"
            raise EnvdError(Code.INVALID_ARGUMENT, text)
    return Globs(pattern.removeprefix("./") for pattern in patterns)


def open_stream(wish: ArchiveRequest, names: NameCache | None = None) -> ArchiveStream:
    """Begin to archive; `names` of users and groups that are known already save looking them up.

    Raises:
        EnvdError: NOT_FOUND if nothing is there; INVALID_ARGUMENT if it is neither a directory nor a regular file, or a
            member or pattern is malformed; UNIMPLEMENTED for a format there is not.
    """
    compression.check(wish.form)
    excluded = _excluded(wish.exclude)
    members = _members(wish.members)
    names = names or NameCache()
    names.refresh()
    writer = TarWriter(names)
    packing = Archiver(-1, "", members, excluded, writer)
    with acting_as(wish.user):
        return _opened(wish, packing)


def _opened(wish: ArchiveRequest, packing: Archiver) -> ArchiveStream:
    try:
        top = open_path(wish.path)
        try:
            real = _real(top, wish.path)
            packing = _packing(wish, top, real, packing)
        finally:
            os.close(top)
    except NotADirectoryError as exc:
        raise EnvdError(Code.NOT_FOUND, f"archive {wish.path}: no such file or directory") from exc
    except OSError as exc:
        raise from_os_error(exc, doing=f"archive {wish.path}") from exc
    try:
        packing.check_members()
        return ArchiveStream(real, wish, packing)
    except EnvdError:
        packing.close()
        raise


def _real(top: int, path: str) -> str:
    with suppress(OSError):  # it is longer than the kernel says
        return path_of(top)
    return os.path.normpath(path)


def _packing(wish: ArchiveRequest, top: int, real: str, packing: Archiver) -> Archiver:
    """Open what is to be archived to read it."""
    mode = os.fstat(top).st_mode
    if stat.S_ISDIR(mode):
        return replace(packing, root=open_down(top, ()))
    _check_file(wish, mode)
    return replace(packing, root=reopen(top, os.O_RDONLY), alone=os.path.basename(real), members=())


def _check_file(wish: ArchiveRequest, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"{wish.path} is a fifo, socket or device, which is not archived")
    if wish.members:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{wish.path} is a file, and has no members")


def _members(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return members in their plain form, none within another."""
    if len(names) > _MOST_MEMBERS:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{len(names)} members: at most {_MOST_MEMBERS}")
    plain = []
    for text in names:
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or ".." in parts or "\0" in text:
            raise EnvdError(Code.INVALID_ARGUMENT, f"a member is a relative path without '..', not '{text[:200]}'")
        if not parts:
            return ()
        plain.append(tuple(parts))
    roots: list[tuple[str, ...]] = []
    for parts_of in sorted(set(plain)):
        if not roots or parts_of[: len(roots[-1])] != roots[-1]:
            roots.append(parts_of)
    return tuple("/".join(parts) for parts in roots)
