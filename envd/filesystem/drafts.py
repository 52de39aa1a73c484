"""The ways content waits until it is complete, and takes its place."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from typing import Protocol

from envd.errors import EnvdError

from . import attributes, content, metadata
from .place import Intent, Place
from .temporary import Temporary

Make = Callable[[int], Temporary]
"""Makes the file a content waits in, for the directory where it goes."""

_SPECIAL = os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC


class Draft(Protocol):
    """Content that is being written to `fd`."""

    fd: int

    def commit(self) -> None:
        """Put the content in place."""

    def close(self) -> None:
        """Let go of everything; without a commit, leave everything as it was."""


def _finish(fd: int, intent: Intent, mode: int | None) -> None:
    """Set what belongs to the file beside its content. The owner first: that clears bits of the mode."""
    attributes.give(fd, intent.owner)
    if intent.metadata is not None:
        metadata.replace(fd, intent.metadata)
    mode = intent.mode if intent.mode is not None else mode
    if mode is not None:
        os.fchmod(fd, mode)
    if intent.sync:
        os.fsync(fd)


class WholeDraft:
    """Content that takes the place of what is there, or of nothing, at once."""

    def __init__(self, place: Place, intent: Intent, make: Make) -> None:
        self._place, self._intent = place, intent
        self._temporary = make(place.directory)
        self.fd = self._temporary.fd

    def commit(self) -> None:
        place, intent = self._place, self._intent
        with place.turn:
            st = place.stat()
            place.check(st, intent)
            if st is not None:
                attributes.copy_extended(place.real, self.fd)
            _finish(self.fd, intent, self._temporary.mode if st is None else attributes.kept_mode(st))
            self._put(new=st is None)
        if intent.sync:
            place.sync()

    def _put(self, *, new: bool) -> None:
        # A hidden name can simply be changed; a second one would take an inode's worth of room on tmpfs.
        if new and (self._intent.if_absent or not self._temporary.named):
            try:
                self._temporary.place(self._place.name)
            except FileExistsError:  # made by somebody else this instant
                if self._intent.if_absent:
                    self._place.check(self._place.stat(), self._intent)
            else:
                return
        self._temporary.replace(self._place.name)

    def close(self) -> None:
        self._temporary.close()
        self._place.close()


class NamedDraft:
    """A new file that has its name from the beginning."""

    def __init__(self, place: Place, intent: Intent) -> None:
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


class CopiedDraft:
    """Content that is copied into an existing file once it is complete."""

    def __init__(self, place: Place, intent: Intent, make: Make) -> None:
        self._place, self._intent = place, intent
        self._aside = _aside(place.directory, make)
        self.fd = self._aside.fd

    def commit(self) -> None:
        place, intent = self._place, self._intent
        with place.turn:
            st = place.stat()
            place.check(st, intent)
            target = os.open(place.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.directory)
            try:
                self._prepare(target)
                content.overwrite(self.fd, target)
                if intent.sync:
                    os.fsync(target)
            finally:
                os.close(target)

    def _prepare(self, target: int) -> None:
        """Do all that can fail for want of room."""
        old, new = os.fstat(target).st_size, os.fstat(self.fd).st_size
        try:
            if new:
                os.posix_fallocate(target, 0, new)
            _finish(target, self._intent, None)
        except (OSError, EnvdError):
            os.ftruncate(target, old)
            raise

    def close(self) -> None:
        self._aside.close()
        self._place.close()


class AppendedDraft:
    """Content that is added to a file as it comes; what came stays, but an empty file that is new does not."""

    def __init__(self, place: Place, intent: Intent) -> None:
        self._place, self._intent = place, intent
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _SPECIAL
        self._new = place.stat() is None
        self.fd = os.open(place.name, flags, 0o666, dir_fd=place.directory)

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


class DeviceDraft:
    """Content that goes to a device as it comes. The device stays whose it is."""

    def __init__(self, place: Place, intent: Intent) -> None:
        self._place, self._sync = place, intent.sync
        self.fd = os.open(place.name, os.O_WRONLY | _SPECIAL, dir_fd=place.directory)

    def commit(self) -> None:
        if self._sync:
            with contextlib.suppress(OSError):  # most devices keep nothing
                os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)
        self._place.close()


class _Elsewhere:
    """A nameless file in the system's directory for temporaries."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.fd = self._file.fileno()

    def close(self) -> None:
        self._file.close()


def _aside(directory: int, make: Make) -> Temporary | _Elsewhere:
    try:
        return make(directory)
    except OSError as exc:
        if exc.errno not in (errno.EROFS, errno.EACCES):
            raise
        return _Elsewhere()  # a writable file mounted into a directory that is not
