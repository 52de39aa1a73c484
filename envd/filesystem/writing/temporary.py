"""Files that have no name yet, or a hidden one, until they take their place."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from envd.filesystem.removal import remove_known

from .hidden_names import TEMPORARY, temporary_name
from .own_writes import OwnWrites
from .temp_registry import Note, TempRegistry

# What O_TMPFILE gives where it is not supported; open(2), and older kernels' take on the unknown flag.
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS)
_PROC_FDS = "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class Temporaries:
    """Who is told of temporaries.

    Attributes:
        leftovers: know of those that have a hidden name, should this process die.
        placements: know where they take their place, so that who watches hears of a file that was made and written.
    """

    leftovers: TempRegistry
    placements: OwnWrites


@contextlib.contextmanager
def hidden_in(directory: int, temporaries: Temporaries) -> Iterator[tuple[str, Note]]:
    """Yield a name that is free in an open directory; what has it in the end is removed. Blocks.

    The note is to be told which directory was made; what is in any other one stays.
    """
    name = temporary_name()
    with _noted(directory, name, temporaries) as note:
        try:
            yield name, note
        finally:
            with contextlib.suppress(OSError):
                remove_known(directory, name, note.identity)


def _noted(
    directory: int, name: str, temporaries: Temporaries, fd: int | None = None
) -> contextlib.AbstractContextManager[Note]:
    """Note a hidden name in an open directory for as long as something, maybe what is open already, may have it."""
    try:
        path = f"{os.readlink(f'{_PROC_FDS}/{directory}')}/{name}"
    except OSError:
        path = ""  # without /proc nothing says where the directory is
    return temporaries.leftovers.noted(path, fd)


class Temporary:
    """A new, empty file in a directory, open for reading and writing. Closing it removes it unless it was placed.

    Args:
        directory: a descriptor; stays the caller's.
        temporaries: are told of it.

    Attributes:
        mode: it should have if it becomes a new file; None: as it was made.

    Raises:
        OSError: it could not be made.
    """

    mode: int | None = None

    def __init__(self, directory: int, temporaries: Temporaries, mode: int = 0o666) -> None:
        self._directory = directory
        self._source = directory  # where the hidden name is
        self._temporaries = temporaries
        self._noted = contextlib.ExitStack()
        self._name: str | None = None
        try:
            self.fd = _unnamed(directory, mode)
        except OSError as exc:
            if exc.errno not in _NO_TMPFILE:
                raise
            self._name, note = self._note()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                self.fd = os.open(self._name, flags, mode, dir_fd=directory)
            except OSError:
                self._noted.close()
                raise
            note.made(self.fd)

    @property
    def named(self) -> bool:
        """True while it has a hidden name."""
        return self._name is not None

    def place(self, name: str) -> None:
        """Give it a name that is free.

        Raises:
            FileExistsError: it is not.
        """
        with self._told(name):
            self._place(name)

    def _place(self, name: str) -> None:
        if self._name is None:
            self._link(name)
            return
        try:
            os.link(self._name, name, src_dir_fd=self._source, dst_dir_fd=self._directory)
        except PermissionError:  # a file system without hard links, as vfat
            self._rename_if_free(name)
        else:
            self._unlink()

    def replace(self, name: str) -> None:
        """Put it in the place of what has that name, at once."""
        with self._told(name):
            self._replace(name)

    def _replace(self, name: str) -> None:
        if self._name is None:
            hidden, _ = self._note(self.fd)
            self._link(hidden)
            self._name = hidden
        os.rename(self._name, name, src_dir_fd=self._source, dst_dir_fd=self._directory)
        self._name = None
        self._noted.close()

    def close(self) -> None:
        """Close it; what has no place yet is gone."""
        self._unlink()
        self._noted.close()
        os.close(self.fd)

    def _told(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Have those who watch told what takes its place, unless that is a hidden one."""
        if TEMPORARY.fullmatch(name):
            return contextlib.nullcontext()
        found = os.fstat(self._directory)
        filled = os.fstat(self.fd).st_size > 0
        return self._temporaries.placements.placing((found.st_dev, found.st_ino), name, filled=filled)

    def _note(self, fd: int | None = None) -> tuple[str, Note]:
        name = temporary_name()
        return name, self._noted.enter_context(_noted(self._directory, name, self._temporaries, fd))

    def _link(self, name: str) -> None:
        # A descriptor of the source's directory makes CPython follow the link in /proc, which open(2) says to do.
        os.link(f"{_PROC_FDS}/{self.fd}", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _rename_if_free(self, name: str) -> None:
        try:
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            self._replace(name)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def _unlink(self) -> None:
        if self._name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._source)
            self._name = None


def _unnamed(directory: int, mode: int) -> int:
    if not os.path.exists(_PROC_FDS):
        raise OSError(errno.EOPNOTSUPP, "without /proc such a file cannot be given a name")
    return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=directory)
