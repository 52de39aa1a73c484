"""The ways content waits until it is complete, and takes its place."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Protocol

from envd.errors import EnvdError
from envd.filesystem import attributes, copy_bytes, metadata
from envd.filesystem.access import acting_as

from .in_place import NO_PLACE, Finish, check_room, copy_into, number_of
from .spool import Spool
from .target import Target, WriteOptions
from .temporary import Temporary

Buffer = bytes | memoryview

_KERNEL_BYTES = 4 * 1024 * 1024
_SPECIAL = os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


class PendingWrite(Protocol):
    """Content that is being written."""

    @property
    def fd(self) -> int:
        """Where the content is so far."""

    def write(self, data: Buffer) -> None:
        """Add bytes.

        Raises:
            OSError: they cannot be written.
        """

    def commit(self) -> None:
        """Put the content in place."""

    def close(self) -> None:
        """Let go of everything; without a commit, leave everything as it was."""


def _finish(fd: int, intent: WriteOptions, mode: int | None) -> None:
    """Set what belongs to the file beside its content. The owner first: that clears bits of the mode."""
    attributes.give(fd, intent.owner)
    if intent.metadata is not None:
        metadata.replace(fd, intent.metadata)
    mode = intent.mode if intent.mode is not None else mode
    if mode is not None:
        os.fchmod(fd, mode)
    if intent.sync:
        os.fsync(fd)


class WholeWrite:
    """Content that takes the place of what is there, or of nothing, at once.

    Where no file can take the place of one that is there, the content is copied into that, once all of it is here.

    Args:
        guard: is shown what the content is about to replace; raises to leave that as it is.
    """

    def __init__(
        self, place: Target, intent: WriteOptions, spool: Spool, guard: Callable[[os.stat_result], None] | None = None
    ) -> None:
        self._place, self._intent, self._spool, self._guard = place, intent, spool, guard

    @property
    def fd(self) -> int:
        return self._spool.fd

    def write(self, data: Buffer) -> None:
        self._spool.write(data)

    def commit(self) -> None:
        place, intent, spool = self._place, self._intent, self._spool
        with place.turn:
            st = self._look()
            try:
                self._replace(st)
            except (OSError, EnvdError) as exc:
                if st is None or intent.atomic or number_of(exc) not in NO_PLACE:
                    raise
                check_room(place, exc)
                copy_into(place, spool, _finishing(intent), exc)
                return
        if intent.sync:
            place.sync()

    def _look(self) -> os.stat_result | None:
        """Return what is there by now, if the content may take its place."""
        st = self._place.stat()
        self._place.check(st, self._intent)
        if st is not None and self._guard is not None:
            self._guard(st)
        return st

    def _replace(self, st: os.stat_result | None) -> None:
        temporary = self._spool.beside
        if temporary is None:
            assert self._spool.why is not None
            raise self._spool.why
        if st is not None:
            with self._place.open_extended() as old:
                attributes.copy_extended(old, self.fd)
        _finish(self.fd, self._intent, temporary.mode if st is None else attributes.kept_mode(st))
        self._put(temporary, new=st is None)

    def _put(self, temporary: Temporary, *, new: bool) -> None:
        # A hidden name can simply be changed; a second one would take an inode's worth of room on tmpfs.
        if new and (self._intent.if_absent or not temporary.named):
            try:
                temporary.place(self._place.name)
            except FileExistsError:  # made by somebody else this instant
                self._look()
            else:
                return
        temporary.replace(self._place.name)

    def close(self) -> None:
        self._spool.close()
        self._place.close()


class NamedWrite:
    """A new file that has its name from the beginning."""

    def __init__(self, place: Target, intent: WriteOptions) -> None:
        self._place, self._intent = place, intent
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.fd = os.open(place.name, flags, 0o666, dir_fd=place.directory)
        self._kept = False
        try:
            attributes.give(self.fd, intent.owner)
        except OSError:
            self._remove()
            os.close(self.fd)
            raise

    def write(self, data: Buffer) -> None:
        copy_bytes.write_all(self.fd, data)

    def commit(self) -> None:
        _finish(self.fd, self._intent, None)
        if self._intent.sync:
            self._place.sync()
        self._kept = True

    def close(self) -> None:
        if not self._kept:
            self._remove()
        os.close(self.fd)
        self._place.close()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            there = os.stat(self._place.name, dir_fd=self._place.directory, follow_symlinks=False)
            if os.path.samestat(there, os.fstat(self.fd)):
                os.unlink(self._place.name, dir_fd=self._place.directory)


class CopiedWrite:
    """Content that is copied into an existing file once it is complete."""

    def __init__(self, place: Target, intent: WriteOptions, spool: Spool) -> None:
        self._place, self._intent, self._spool = place, intent, spool

    @property
    def fd(self) -> int:
        return self._spool.fd

    def write(self, data: Buffer) -> None:
        self._spool.write(data)

    def commit(self) -> None:
        place, intent = self._place, self._intent
        with place.turn:
            place.check(place.stat(), intent)
            copy_into(place, self._spool, _finishing(intent))

    def close(self) -> None:
        self._spool.close()
        self._place.close()


def _finishing(intent: WriteOptions) -> Finish:
    """Return what gives a file that is overwritten what belongs to it."""

    def before(target: int, old: os.stat_result) -> None:
        mode = attributes.kept_mode(old)
        _finish(target, intent, None if mode == stat.S_IMODE(old.st_mode) else mode)

    return Finish(before, os.fsync if intent.sync else None)


class KernelWrite:
    """Content of a file that the kernel makes up, as in /proc/sys: handed over in one write. It stays whose it is."""

    def __init__(self, place: Target, intent: WriteOptions) -> None:
        self._place, self._intent = place, intent
        self.fd = os.memfd_create("envd-content")

    def write(self, data: Buffer) -> None:
        if os.fstat(self.fd).st_size + len(data) > _KERNEL_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        copy_bytes.write_all(self.fd, data)

    def commit(self) -> None:
        place = self._place
        with place.turn:
            place.check(place.stat(), self._intent)
            target = os.open(place.name, os.O_WRONLY | _SPECIAL, dir_fd=place.directory)
            try:
                copy_bytes.write_all(target, os.pread(self.fd, _KERNEL_BYTES, 0))
            finally:
                os.close(target)

    def close(self) -> None:
        os.close(self.fd)
        self._place.close()


class AppendedWrite:
    """Content that is added to a file as it comes; what came stays, but an empty file that is new does not.

    Each write is the user's doing, as with a device: files of the kernel's judge who writes, and not who has opened.
    """

    def __init__(self, place: Target, intent: WriteOptions) -> None:
        self._place, self._intent = place, intent
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _SPECIAL
        self._new = place.stat() is None
        self.fd = os.open(place.name, flags, 0o666, dir_fd=place.directory)

    def write(self, data: Buffer) -> None:
        with acting_as(self._intent.actor):
            copy_bytes.write_all(self.fd, data)

    def commit(self) -> None:
        _finish(self.fd, self._intent, None)
        self._new = False
        if self._intent.sync:
            self._place.sync()

    def close(self) -> None:
        if self._new:
            self._end_of_new()
        os.close(self.fd)
        self._place.close()

    def _end_of_new(self) -> None:
        with contextlib.suppress(OSError):
            if os.fstat(self.fd).st_size == 0:
                os.unlink(self._place.name, dir_fd=self._place.directory)
            else:
                attributes.give(self.fd, self._intent.owner)


class DeviceWrite:
    """Content that goes to a device as it comes. The device stays whose it is."""

    def __init__(self, place: Target, intent: WriteOptions) -> None:
        self._place, self._intent = place, intent
        self.fd = os.open(place.name, os.O_WRONLY | _SPECIAL, dir_fd=place.directory)

    def write(self, data: Buffer) -> None:
        with acting_as(self._intent.actor):
            copy_bytes.write_all(self.fd, data)

    def commit(self) -> None:
        if self._intent.sync:
            with contextlib.suppress(OSError):  # most devices keep nothing
                os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)
        self._place.close()
