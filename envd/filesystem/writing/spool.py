"""Where content waits until all of it is there. Everything here blocks: for threads."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator

from envd.errors import NO_ROOM
from envd.filesystem import copy_bytes

from .in_place import NO_PLACE
from .temporary import Temporary

Make = Callable[[int], Temporary]
"""Makes the file a content waits in, for the directory where it goes."""

_IN_MEMORY_BYTES = 4 * 1024 * 1024


class Spool:
    """A file beside the one that is written, so that it can take its place; and another one where that cannot be.

    The others are a file without a name in the system's directory for temporaries, and, for up to 4 MiB, memory.

    Args:
        directory: a descriptor; stays the caller's.
        movable: content that lies elsewhere serves too, because it can be copied into a file that is there.
        filled: where it lies already, if it does; stays the caller's.

    Attributes:
        fd: the content, open for reading and writing.
        beside: what can take the place; None if the content lies elsewhere.
        why: then, why that is so.

    Raises:
        OSError: nothing could be made.
    """

    def __init__(self, directory: int, make: Make, *, movable: bool, filled: int | None = None) -> None:
        self.beside: Temporary | None = None
        self.why: OSError | None = None
        self.fd = -1
        self._most: int | None = None
        self._others = self._elsewhere(directory) if movable else iter(())
        if filled is not None:
            self._others = iter([(os.dup(filled), None)])
        try:
            self.beside = make(directory)
            self.fd = self.beside.fd
        except OSError as exc:
            if exc.errno not in NO_PLACE or not self.move(exc):
                raise

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes; what there is no room for beside the file goes elsewhere, with all that came before.

        Raises:
            OSError: they cannot be written.
        """
        view = memoryview(data)
        while view:
            try:
                view = view[self._write(view) :]
            except OSError as exc:
                if exc.errno not in NO_ROOM or not self.move(exc):
                    raise

    def _write(self, view: memoryview) -> int:
        if self._most is not None and os.lseek(self.fd, 0, os.SEEK_CUR) + len(view) > self._most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(self.fd, view)

    def move(self, why: OSError) -> bool:
        """Take the content elsewhere, and free the room it took; return False if there is nowhere, or no more."""
        for fd, most in self._others:
            try:
                if self.fd >= 0:
                    _check_size(self.fd, most)
                    copy_bytes.copy(self.fd, fd)
                    os.lseek(fd, 0, os.SEEK_END)
            except OSError as exc:
                os.close(fd)
                if exc.errno not in NO_ROOM:
                    raise
                continue
            self.close()
            self.why = self.why or why
            self.fd, self._most, self.beside = fd, most, None
            return True
        return False

    def _elsewhere(self, directory: int) -> Iterator[tuple[int, int | None]]:
        """Yield files elsewhere, with the bytes each may have at most."""
        try:
            with tempfile.TemporaryFile(buffering=0) as file:
                fd = os.dup(file.fileno())
        except OSError:
            pass  # that is full, too, or there is none
        else:
            if os.fstat(fd).st_dev == os.fstat(directory).st_dev and self.fd >= 0:
                os.close(fd)  # it was tried already
            else:
                yield fd, None
        yield os.memfd_create("envd-content"), _IN_MEMORY_BYTES

    def close(self) -> None:
        """Let go of the content, unless it has taken its place."""
        if self.beside is not None:
            self.beside.close()
        elif self.fd >= 0:
            os.close(self.fd)
        self.beside, self.fd = None, -1


def _check_size(fd: int, most: int | None) -> None:
    if most is not None and os.fstat(fd).st_size > most:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
