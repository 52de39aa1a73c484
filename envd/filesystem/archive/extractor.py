"""Makes an archive's entries in a hidden directory of its own. Everything here blocks: call it from a thread."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.walking import SEARCH, open_down

from .metadata import MetadataSetter, Rules
from .position import Position
from .safety import Parts, check_symlink, check_text, parts_of
from .tarstream.member import Member, MemberKind

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SLICE = 128
_BREATH_S = 50e-6


@dataclass(frozen=True, slots=True)
class _ExtractedFile:
    fd: int
    member: Member


class Extractor:
    """Makes entries below a directory. Implements reader.Sink.

    It holds few descriptors, and remembers only the way to where it is, whatever the size of the archive: the
    kernel says what an entry meets that is there already.

    Args:
        top: the directory, open; stays the caller's.

    Attributes:
        entries: made so far.
        content_bytes: written so far.
    """

    def __init__(self, top: int, rules: Rules) -> None:
        self.entries = 0
        self.content_bytes = 0
        self._top = top
        self._rules = rules
        self._finisher = MetadataSetter(rules)
        self.position = Position(top, self._finisher)
        self._file: _ExtractedFile | None = None

    def begin(self, member: Member) -> None:
        """Begin an entry.

        Raises:
            EnvdError: INVALID_ARGUMENT if it is refused, or cannot be made.
        """
        self.entries += 1
        if self.entries > self._rules.most_entries:
            raise EnvdError(Code.INVALID_ARGUMENT, f"the archive has more than {self._rules.most_entries} entries")
        if self.entries % _SLICE == 0:
            time.sleep(_BREATH_S)
        parts = parts_of(member.name)
        if not parts and member.kind is not MemberKind.DIRECTORY:
            raise EnvdError(Code.INVALID_ARGUMENT, f"an entry of the archive has no name: '{member.name}'")
        try:
            self._make(member, parts)
        except OSError as exc:
            raise _failed(member, exc) from exc

    def _make(self, member: Member, parts: Parts) -> None:
        position = self.position
        if member.kind is MemberKind.DIRECTORY:
            position.go(parts)
            position.describe(member)
            return
        position.go(parts[:-1])
        name, directory_fd = parts[-1], position.here
        if member.kind is MemberKind.FILE:
            self._file = _ExtractedFile(
                self._new(lambda: os.open(name, _NEW, 0o600, dir_fd=directory_fd), name, member), member
            )
        elif member.kind is MemberKind.SYMLINK:
            check_text(member)
            if not self._rules.outside_links:
                check_symlink(member, parts)
            self._new(lambda: os.symlink(member.link, name, dir_fd=directory_fd), name, member)
            self._finisher.finish_symlink(directory_fd, name, member)
        else:
            self._link(name, member)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write content of the file that was begun.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there is no room, INVALID_ARGUMENT if it is more than is allowed.
        """
        assert self._file is not None
        self.content_bytes += len(data)
        most = self._rules.most_bytes
        if most is not None and self.content_bytes > most:
            raise EnvdError(Code.INVALID_ARGUMENT, f"the files of the archive have more than {most} bytes of content")
        try:
            while written := os.pwrite(self._file.fd, data, offset):
                if written == len(data):
                    return
                data, offset = data[written:], offset + written
        except OSError as exc:
            raise _failed(self._file.member, exc) from exc

    def finish(self) -> None:
        """End the entry.

        Raises:
            EnvdError: it cannot be what the archive says.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        member = file.member
        try:
            if member.extents is not None:
                os.ftruncate(file.fd, member.size)
            self._finisher.finish(file.fd, member, self._finisher.mode_of(member))
        except OSError as exc:
            raise _failed(member, exc) from exc
        finally:
            os.close(file.fd)

    def complete(self) -> None:
        """Give all directories what the archive says of them.

        Raises:
            EnvdError: it could not be done.
        """
        try:
            self.position.complete()
        except OSError as exc:
            raise from_os_error(exc, doing="extract") from exc

    def close(self) -> None:
        """Let go of everything."""
        if self._file is not None:
            os.close(self._file.fd)
        self.position.close()

    def _new(self, make: Callable[[], int | None], name: str, member: Member) -> int:
        """Make an entry; one of this archive by the same name goes, unless it is a directory."""
        try:
            return make() or 0
        except FileExistsError:
            directory_fd = self.position.here
            existing = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            if stat.S_ISDIR(existing.st_mode):
                raise EnvdError(
                    Code.INVALID_ARGUMENT, f"{member.name} is in the archive twice, as a directory and as none"
                ) from None
            os.unlink(name, dir_fd=directory_fd)
            return make() or 0

    def _link(self, name: str, member: Member) -> None:
        """Make a hard link to an earlier entry."""
        parts = parts_of(member.link)
        directory_fd, fd = self.position.here, -1
        try:
            fd = open_down(self._top, parts[:-1], SEARCH)
            base = parts[-1] if parts else ""
            existing = os.stat(base, dir_fd=fd, follow_symlinks=False)
            if parts == (*self.position.parts, name):
                return  # to itself: as if it were there once
            if stat.S_ISDIR(existing.st_mode):
                raise EnvdError(Code.INVALID_ARGUMENT, f"{member.name} in the archive is a hard link to a directory")
            self._new(
                lambda: os.link(base, name, src_dir_fd=fd, dst_dir_fd=directory_fd, follow_symlinks=False), name, member
            )
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"{member.name} in the archive is a hard link to no earlier entry: {member.link}"
            ) from exc
        finally:
            if fd >= 0:
                os.close(fd)


def _failed(member: Member, exc: OSError) -> EnvdError:
    return from_os_error(exc, doing=f"extract {member.name}")
