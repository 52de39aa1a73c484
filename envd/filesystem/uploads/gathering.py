"""The hidden file in which parts are gathered, from its beginning to its place. Everything here blocks: for threads."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from contextlib import ExitStack, closing

from envd.errors import NO_ROOM, Code, EnvdError, from_os_error
from envd.filesystem import copy_bytes
from envd.filesystem.access import (
    Landing,
    acting_as,
    acts_as_itself,
    born_ns,
    help_instead,
    open_path,
    path_of,
    was_denied,
)
from envd.filesystem.entries import ConditionError
from envd.filesystem.writing.directories import first_missing, parent_of
from envd.filesystem.writing.hidden_names import temporary_name
from envd.filesystem.writing.in_place import NO_PLACE, check_room, number_of
from envd.filesystem.writing.staging import is_replaceable
from envd.filesystem.writing.target import Target, WriteOptions, find_place
from envd.filesystem.writing.temporary import Temporaries, Temporary
from envd.host.users import User

from .state import Kept

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Beginning:
    """A new file that has no name yet. Closing it removes it unless it was named.

    Args:
        directory: a descriptor, closed with the beginning.
        temporaries: are told of it.
        owner: acts as whom; None: the daemon itself.
        elsewhere: it is not the directory of the file that the parts are of.

    Attributes:
        kept: the file, as it is known from now on.
    """

    def __init__(
        self, directory: int, temporaries: Temporaries, owner: User | None, *, elsewhere: bool = False
    ) -> None:
        self._owner = owner
        self._directory = directory
        with ExitStack() as undo:
            undo.callback(os.close, directory)
            self._file = Temporary(self._directory, temporaries)
            undo.callback(self._file.close)
            st = os.fstat(self._file.fd)
            os.fchmod(self._file.fd, 0o600)  # until it is whole it is nobody's to read
            path, born = path_of(directory), born_ns(self._file.fd)
            self._undo = undo.pop_all()
        mode = stat.S_IMODE(st.st_mode)
        self.kept = Kept(path, temporary_name(), st.st_dev, st.st_ino, mode, st.st_uid, born, elsewhere)

    def check_room(self, size: int) -> None:
        """Check that there is room for the whole content beside the file that it replaces.

        Raises:
            OSError: there is none.
        """
        copy_bytes.allocate(self._file.fd, size)
        os.ftruncate(self._file.fd, 0)

    def name(self) -> None:
        """Give it its hidden name.

        Raises:
            EnvdError: that could not be done.
        """
        try:
            with contextlib.nullcontext() if self._owner is None else acting_as(self._owner):
                self._file.place(self.kept.name)
        except OSError as exc:
            raise from_os_error(exc, doing=f"make a temporary file in {self.kept.directory}") from exc

    def close(self) -> None:
        self._undo.close()


def begin(path: str, intent: WriteOptions, temporaries: Temporaries, size: int | None = None) -> Beginning:
    """Make the file for parts of another one, in the lowest directory above that there is.

    The conditions of the write are checked. Nothing is made that anybody sees before it is named.

    `size` is that of the whole, if it is known.

    Raises:
        EnvdError: as stage(); INVALID_ARGUMENT for a device, too.
    """
    if path.endswith("/") or os.path.basename(path) in (".", ".."):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {path}")
    try:
        try:
            with acting_as(intent.actor):
                return _begin(path, intent, temporaries, size)
        except (OSError, EnvdError) as exc:
            if not intent.helped or not was_denied(exc) or acts_as_itself(intent.actor):
                raise
            return _begin_with_help(path, intent, temporaries, exc)
    except OSError as exc:
        raise from_os_error(exc, doing=f"write {path}") from exc


def begin_elsewhere(path: str, intent: WriteOptions, temporaries: Temporaries, why: EnvdError) -> Beginning:
    """Make the file for parts of one that can only be overwritten, in the system's directory for temporaries.

    `why` says why begin() could not make it beside that file, or name it.

    Raises:
        EnvdError: `why`, if that would not help.
    """
    try:
        with acting_as(intent.actor), closing(find_place(path)) as place:
            st = place.stat()
            if st is None or intent.atomic or number_of(why) not in NO_PLACE:
                raise why
            _check(place, st, intent)
            place.check_writable()
            check_room(place, why)
            directory = open_path(tempfile.gettempdir(), _DIRECTORY)
            if number_of(why) in NO_ROOM and os.fstat(directory).st_dev == st.st_dev:
                os.close(directory)
                raise why
            return Beginning(directory, temporaries, intent.actor, elsewhere=True)
    except OSError:
        raise why from why.__cause__


def _begin(path: str, intent: WriteOptions, temporaries: Temporaries, size: int | None) -> Beginning:
    """Begin with the rights this thread has."""
    parent = parent_of(path)
    above = _existing(parent) if intent.parents else parent
    if above != parent:
        _check_absent(path, intent)
        return Beginning(open_path(above, _DIRECTORY), temporaries, intent.actor)
    with closing(find_place(path)) as place:
        st = place.stat()
        _check(place, st, intent)
        beginning = Beginning(os.dup(place.directory), temporaries, intent.actor)
        try:
            if st is not None and size is not None and not intent.atomic and _is_short_of(place, size):
                beginning.check_room(size)
        except OSError:
            beginning.close()
            raise
        return beginning


def _is_short_of(place: Target, size: int) -> bool:
    """Tell whether a disk may have no room for so many bytes; quotas are not looked at in memory."""
    disk = os.fstatvfs(place.directory)
    return disk.f_bavail * disk.f_frsize < size or place.file_system() not in ("tmpfs", "")


def _begin_with_help(path: str, intent: WriteOptions, temporaries: Temporaries, exc: OSError | EnvdError) -> Beginning:
    """Begin with the daemon's rights, where only root has a say."""

    def help_out(landing: Landing) -> Beginning:
        if missing:
            _check_absent(path, intent)
        else:
            with closing(Target(path, os.dup(landing.directory), landing.name)) as place:
                st = place.stat()
                _check(place, st, intent)
                if st is not None and (intent.atomic is False or not is_replaceable(place, st, intent.actor)):
                    raise exc
        return Beginning(os.dup(landing.directory), temporaries, None)

    missing = first_missing(parent_of(path), intent.actor) if intent.parents else None
    return help_instead(intent.actor, help_out, missing or path, exc, follow=True)


def _check_absent(path: str, intent: WriteOptions) -> None:
    if intent.if_match is not None:
        raise ConditionError(f"if_match: there is nothing at {path}")


def _existing(directory: str) -> str:
    while True:
        try:
            fd = open_path(directory, os.O_PATH)
        except FileNotFoundError:
            if os.path.islink(directory):
                raise EnvdError(
                    Code.FAILED_PRECONDITION,
                    f"failed to create directory: {directory} is a symbolic link that leads nowhere",
                ) from None
            directory = os.path.dirname(directory)
            continue
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        os.close(fd)
        if not is_directory:
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is a file: {directory}")
        return directory


def _check(place: Target, st: os.stat_result | None, intent: WriteOptions) -> None:
    place.check(st, intent)
    if st is None:
        return
    if not stat.S_ISREG(st.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"{place.path} is a device, which takes bytes only as they come")
    why = place.why_in_place(st)
    if why or intent.atomic is False or acts_as_itself(intent.actor):
        place.check_writable()
    if intent.atomic and why:
        raise EnvdError(Code.INVALID_ARGUMENT, f"cannot be written at once: {place.path} {why}; leave atomic out")


class Gathered:
    """The file, open for reading and writing; a context manager that closes it.

    Raises:
        EnvdError: NOT_FOUND if it is not there any more.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        with ExitStack() as undo:
            try:
                self._directory = os.open(kept.directory, _DIRECTORY)
                undo.callback(os.close, self._directory)
                flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                self.fd = os.open(kept.name, flags, dir_fd=self._directory)
                undo.callback(os.close, self.fd)
                st = os.fstat(self.fd)
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise _lost(kept) from exc
            except OSError as exc:
                raise from_os_error(exc, doing=f"open {kept.path}") from exc
            if not is_it(kept, self.fd, st):
                raise _lost(kept)
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def unlink(self) -> None:
        """Take its name away, if it still has it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._kept.name, dir_fd=self._directory)

    def waiting(self, directory: int, temporaries: Temporaries) -> Waiting:
        """Return it as content that waits to take a place in a directory."""
        return Waiting(self.fd, self._kept, self._directory, directory, temporaries)


class Waiting(Temporary):
    """Content that is here already. Closing leaves it as it is: who gathered it removes it."""

    def __init__(self, fd: int, kept: Kept, source: int, directory: int, temporaries: Temporaries) -> None:
        self._temporaries = temporaries
        self.fd = fd
        self.mode = kept.mode
        self._source = source
        self._directory = directory
        self._name = kept.name
        self._noted = ExitStack()  # it is written down elsewhere

    def close(self) -> None:
        """Leave it."""


def is_it(kept: Kept, fd: int, st: os.stat_result) -> bool:
    """Tell whether what is open is the file: the daemon's rights have opened it, in anybody's directory. Blocks."""
    if (st.st_dev, st.st_ino) != (kept.device, kept.inode) or kept.owner not in (None, st.st_uid):
        return False
    return not kept.born_ns or born_ns(fd) in (0, kept.born_ns)


def check(kept: Kept) -> None:
    """Check that the file is there.

    Raises:
        EnvdError: NOT_FOUND if it is not.
    """
    Gathered(kept).close()


def remove(kept: Kept) -> None:
    """Remove the file, if it is there and no other one.

    Raises:
        EnvdError: it cannot be removed.
    """
    try:
        with closing(Gathered(kept)) as gathered:
            gathered.unlink()
    except EnvdError as exc:
        if exc.code is not Code.NOT_FOUND:
            raise
    except OSError as exc:
        raise from_os_error(exc, doing=f"remove {kept.path}") from exc


def _lost(kept: Kept) -> EnvdError:
    return EnvdError(
        Code.NOT_FOUND,
        f"what was received is gone: {kept.path} was removed or moved; abort and begin again",
    )
