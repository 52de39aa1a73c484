"""Making an archive of what is on the disk, piece by piece while it is sent. Everything here blocks: for threads."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.globs import Globs, State
from envd.filesystem.hidden_names import TEMPORARY

from . import headers
from .inventory import Reason
from .writing import Writer

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LEVELS = 512  # each holds two descriptors
# A thread that only computes keeps the event loop from running for 5 ms at a time; so it sleeps in between.
_SLICE = 128
_BREATH_S = 50e-6


@dataclass(slots=True)
class _Level:
    """A directory on the way down.

    Attributes:
        fd: open, ours.
        prefix: begins the names of what is in it: empty, or with a slash at the end.
        scan: what is still to come.
        state: where the patterns of what is left out stand in it.
    """

    fd: int
    prefix: str
    scan: Iterator[os.DirEntry[str]]
    state: State

    def close(self) -> None:
        self.scan.close()  # type: ignore[attr-defined]  # of an os.scandir
        os.close(self.fd)


@dataclass(slots=True)
class Packing:
    """One archive while it is made.

    Attributes:
        root: the directory, open; or the one that the single file is in.
        alone: the name of that file; empty for a directory.
        members: parts of the directory to archive; empty for all of it.
    """

    root: int
    alone: str
    members: tuple[str, ...]
    excluded: Globs
    writer: Writer
    _levels: list[_Level] = field(default_factory=list)

    def check_members(self) -> None:
        """Check that all members are there, and no link leads to them.

        Raises:
            EnvdError: NOT_FOUND, or another code.
        """
        for member in self.members:
            try:
                fd, base = self._reach(member)
                try:
                    os.stat(base, dir_fd=fd, follow_symlinks=False)
                finally:
                    os.close(fd)
            except OSError as exc:
                raise from_os_error(exc, doing=f"archive {member}") from exc

    def _reach(self, member: str) -> tuple[int, str]:
        """Open the directory a member is in; return it and the member's name there."""
        *above, base = member.split("/")
        fd = os.dup(self.root)
        for name in above:
            try:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd, base

    def pieces(self) -> Generator[bytes, None, None]:
        """Yield the archive. Pieces are at most 1 MiB and headers long, and may be small.

        Raises:
            EnvdError: ABORTED if a file becomes shorter while it is read; another code if what was asked for cannot be
                read at all.
        """
        if self.alone:
            yield from self._file_or_other(self.root, self.alone, self.alone, regular=True)
        elif self.members:
            for member in self.members:
                yield from self._chosen(member)
        else:
            yield from self._directory(os.dup(self.root), "")
        yield headers.END

    def close(self) -> None:
        """Let go of everything."""
        for level in self._levels:
            level.close()
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
                mode = os.stat(base, dir_fd=fd, follow_symlinks=False).st_mode
                directory = os.open(base, _DIRECTORY, dir_fd=fd) if stat.S_ISDIR(mode) else None
            except OSError as exc:
                self.writer.missed(member, exc)
                return
            if directory is not None:
                yield from self._directory(directory, member)
            else:
                yield from self._file_or_other(fd, base, member, regular=stat.S_ISREG(mode))
        finally:
            os.close(fd)

    def _directory(self, fd: int, name: str) -> Generator[bytes, None, None]:
        """Yield a directory with all that is below it; takes the descriptor over."""
        yield self._enter(fd, name, self._state_in(name))
        bottom, count = len(self._levels) - 1, 0
        while len(self._levels) > bottom:
            level = self._levels[-1]
            found = self._next(level)
            if found is None:
                self._levels.pop().close()
                continue
            name = level.prefix + found.name
            is_directory = found.is_dir(follow_symlinks=False)
            excluded, state = self.excluded.step(level.state, found.name, is_directory=is_directory)
            if excluded or TEMPORARY.fullmatch(found.name):
                continue
            if is_directory:
                yield self._descend(level, found.name, state)
            else:
                regular = found.is_file(follow_symlinks=False)
                yield from self._file_or_other(level.fd, found.name, name, regular=regular)
            count += 1
            if count % _SLICE == 0:
                time.sleep(_BREATH_S)

    def _next(self, level: _Level) -> os.DirEntry[str] | None:
        try:
            return next(level.scan, None)
        except OSError as exc:
            self.writer.inventory.leave_out(level.prefix.rstrip("/") or ".", Reason.UNREADABLE, exc.errno)
            return None

    def _state_in(self, name: str) -> State:
        state = self.excluded.start
        for part in name.split("/") if name else ():
            _, state = self.excluded.step(state, part, is_directory=True)
        return state

    def _descend(self, level: _Level, base: str, state: State) -> bytes:
        name = level.prefix + base
        if len(self._levels) >= _MOST_LEVELS:
            raise EnvdError(Code.FAILED_PRECONDITION, f"{name} is more than {_MOST_LEVELS} directories deep")
        try:
            return self._enter(os.open(base, _DIRECTORY, dir_fd=level.fd), name, state)
        except OSError as exc:
            self.writer.missed(name, exc)
        return b""

    def _enter(self, fd: int, name: str, state: State) -> bytes:
        try:
            scan = os.scandir(fd)
        except OSError:
            os.close(fd)
            raise
        self._levels.append(_Level(fd, f"{name}/" if name else "", scan, state))
        return self.writer.directory(fd, name or ".")

    def _file_or_other(self, directory: int, base: str, name: str, *, regular: bool) -> Generator[bytes, None, None]:
        """Yield what is no directory."""
        try:
            if not regular:
                yield self.writer.special(directory, base, name)
                return
            fd = os.open(base, _READ, dir_fd=directory)
        except OSError as exc:
            self.writer.missed(name, exc)
            return
        try:
            yield from self.writer.file(fd, name)
        finally:
            os.close(fd)
