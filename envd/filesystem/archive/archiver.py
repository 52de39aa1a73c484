"""Makes an archive of a tree, piece by piece while it is sent. Everything here blocks: call it from a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.globs import Globs, State
from envd.filesystem.walking import READ, SEARCH, Walk, open_down, open_entry
from envd.filesystem.writing.hidden_names import TEMPORARY

from .safety import LONGEST_NAME_BYTES
from .summary import LeftOutReason
from .tarstream import header_writer
from .writing import TarWriter

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


class _ArchiveLevel(NamedTuple):
    """A directory between the root and the current entry.

    Attributes:
        prefix: begins the names of what is in it: empty, or with a slash at the end.
        state: where the patterns of what is left out stand in it.
    """

    prefix: str
    state: State


@dataclass(slots=True)
class Archiver:
    """Makes one archive.

    Attributes:
        root: the directory, or the single file; open.
        alone: the name of that file; empty for a directory.
        members: parts of the directory to archive; empty for all of it.
    """

    root: int
    alone: str
    members: tuple[str, ...]
    excluded: Globs
    writer: TarWriter

    def check_members(self) -> None:
        """Check that all members are there, and no link leads to them.

        Raises:
            EnvdError: NOT_FOUND, or another code.
        """
        for member in self.members:
            try:
                fd, base = self._reach(member)
                try:
                    os.lstat(base, dir_fd=fd)
                finally:
                    os.close(fd)
            except OSError as exc:
                raise from_os_error(exc, doing=f"archive {member}") from exc

    def _reach(self, member: str) -> tuple[int, str]:
        """Open the directory a member is in; return it and the member's name there."""
        *above, base = member.split("/")
        return open_down(self.root, above, SEARCH), base

    def pieces(self) -> Generator[bytes, None, None]:
        """Yield the archive. Pieces are at most 1 MiB and headers long, and may be small.

        Raises:
            EnvdError: ABORTED if a file becomes shorter while it is read; another code if what was asked for cannot be
                read at all.
        """
        if self.alone:
            yield from self.writer.file(self.root, self.alone)
        elif self.members:
            for member in self.members:
                yield from self._chosen(member)
        else:
            yield from self._directory(self.root, "")
        yield header_writer.END

    def close(self) -> None:
        """Let go of everything."""
        os.close(self.root)

    def _chosen(self, member: str) -> Generator[bytes, None, None]:
        """Yield one of the members asked for; the directories above it are no part of the archive."""
        try:
            fd, base = self._reach(member)
        except OSError as exc:
            self.writer.missed(member, exc)
            return
        try:
            try:
                mode = os.lstat(base, dir_fd=fd).st_mode
                directory = open_entry(fd, base, READ) if stat.S_ISDIR(mode) else None
            except OSError as exc:
                self.writer.missed(member, exc)
                return
            if directory is not None:
                try:
                    yield from self._directory(directory, member)
                finally:
                    os.close(directory)
            else:
                yield from self._file_or_other(fd, base, member, regular=stat.S_ISREG(mode))
        finally:
            os.close(fd)

    def _directory(self, root: int, name: str) -> Generator[bytes, None, None]:
        """Yield an open directory with all that is below it."""
        yield self.writer.directory(root, name or ".")
        with Walk(root, _ArchiveLevel(f"{name}/" if name else "", self._state_in(name)), self._failed) as walk:
            for base, kind in walk:
                place = walk.state
                is_directory = kind == stat.S_IFDIR
                excluded, state = self.excluded.step(place.state, base, is_directory=is_directory)
                if excluded or TEMPORARY.fullmatch(base):
                    continue
                name = place.prefix + base
                if is_directory:
                    yield self._enter(walk, base, name, state)
                else:
                    yield from self._file_or_other(walk.here, base, name, regular=kind == stat.S_IFREG)

    def _failed(self, place: _ArchiveLevel, exc: OSError) -> None:
        self.writer.inventory.leave_out(place.prefix.rstrip("/") or ".", LeftOutReason.UNREADABLE, exc.errno)

    def _state_in(self, name: str) -> State:
        state = self.excluded.start
        for part in name.split("/") if name else ():
            _, state = self.excluded.step(state, part, is_directory=True)
        return state

    def _enter(self, walk: Walk[_ArchiveLevel], base: str, name: str, state: State) -> bytes:
        if len(os.fsencode(name)) >= LONGEST_NAME_BYTES:
            raise EnvdError(
                Code.FAILED_PRECONDITION,
                f"{name[:200]}... is too deep to be archived: its name has more than {LONGEST_NAME_BYTES} bytes",
            )
        try:
            walk.enter(base, _ArchiveLevel(f"{name}/", state))
        except OSError as exc:
            self.writer.missed(name, exc)
            return b""
        return self.writer.directory(walk.here, name)

    def _file_or_other(self, directory: int, base: str, name: str, *, regular: bool) -> Generator[bytes, None, None]:
        """Yield what is no directory."""
        try:
            if not regular:
                yield self.writer.special(directory, base, name)
                return
            fd = open_entry(directory, base, _READ)
        except OSError as exc:
            self.writer.missed(name, exc)
            return
        try:
            yield from self.writer.file(fd, name)
        finally:
            os.close(fd)
