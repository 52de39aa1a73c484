"""Extracts an archive as it arrives. Everything here blocks: call it from a thread, one call at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from envd.errors import Code, EnvdError, NoRoomError, from_os_error
from envd.filesystem.access import acting_as, open_path, path_of
from envd.filesystem.walking import READ, SEARCH, open_entry
from envd.filesystem.writing.directories import (
    make_directories_as,
    make_parents,
    remove_directories,
    remove_directories_as,
)
from envd.filesystem.writing.temporary import Temporaries, hidden_in
from envd.host.users import User

from .extractor import Extractor
from .merging import Conflict, Merge, unseal
from .metadata import MOST_ENTRIES, Rules
from .tarstream import compression
from .tarstream.compression import Format
from .tarstream.member import Member
from .tarstream.reader import TarReader

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """Options of an extraction.

    Attributes:
        path: absolute; links are followed.
        user: as whom the kernel checks it; to whom belongs what nothing else is said of.
        owner: says to whom an entry belongs; None: to the user.
        form: None: what the first bytes show.
        set_id: keep set-user-id and set-group-id bits.
        outside_links: take symbolic links that lead outside.
        most_entries: more are refused.
        most_bytes: of content; more are refused. None: there is no limit.
        helped: a target that is missing where only root may make it is made with the daemon's own rights.
    """

    path: str
    user: User
    owner: Callable[[Member], tuple[int, int]] | None = None
    form: Format | None = None
    set_id: bool = False
    outside_links: bool = False
    conflict: Conflict = Conflict.OVERWRITE
    most_entries: int = MOST_ENTRIES
    most_bytes: int | None = None
    helped: bool = False


@dataclass(frozen=True, slots=True)
class Extracted:
    """The summary of an extraction.

    Attributes:
        path: with all links resolved.
        created: it was not there before.
        entries: of the archive, without those that were skipped.
        content_bytes: written, without holes.
        archive_bytes: received.
        skipped: entries whose place was taken.
    """

    path: str
    created: bool
    entries: int
    content_bytes: int
    archive_bytes: int
    skipped: int


class Extraction:
    """Takes an archive apart into a hidden directory, then puts that in place; until then nothing is changed.

    The hidden directory is beside the target, or, if that is there, in it: so both are in one file system, and in a
    directory where something can be made. Directories are held open, so that nobody can put others in their places.

    Raises:
        EnvdError: it cannot be extracted there. INVALID_ARGUMENT if the target is no directory.
    """

    def __init__(self, request: ExtractRequest, temporaries: Temporaries) -> None:
        self._request = request
        self._temporaries = temporaries
        self._received = 0
        self._unpacker = compression.unpacker(request.form)
        self._made_directories: tuple[str, ...] = ()
        self._helped: tuple[str, ...] = ()
        try:
            with acting_as(request.user):
                self._open()
        except EnvdError as exc:
            if not (request.helped and isinstance(exc.__cause__, PermissionError) and self._make_target()):
                raise
            try:
                with acting_as(request.user):
                    self._open()
            except EnvdError:
                remove_directories_as(self._helped, request.user, helped=True)
                raise

    def _open(self) -> None:
        with ExitStack() as undo:
            self._target, self._exists = _look(self._request.path)
            undo.callback(self._remove_made)
            if not self._exists:
                self._made_directories = make_parents(self._target, self._request.user)
            try:
                self._begin(undo)
            except OSError as exc:
                raise from_os_error(exc, doing=f"extract to {self._target}") from exc
            self._reader = TarReader(self._tree)
            self._undo = undo.pop_all()

    def _make_target(self) -> bool:
        """Make the target where only root has a say, with the daemon's own rights; what is in it is the user's work.

        Return False if that is not such a place.

        Raises:
            NoRoomError: it is, and the disk is full.
        """
        try:
            self._helped = make_directories_as(self._request.path, self._request.user, helped=True)
        except NoRoomError:
            raise
        except (OSError, EnvdError):
            return False
        return bool(self._helped)

    def _begin(self, undo: ExitStack) -> None:
        """Open the directory to work in, and make the hidden one there."""
        above, self._name = os.path.split(self._target)
        working = self._target if self._exists else above
        self._working = open_path(working, SEARCH)  # it may be one that cannot be read
        undo.callback(os.close, self._working)
        self._hidden, note = undo.enter_context(hidden_in(self._working, self._temporaries))
        os.mkdir(self._hidden, 0o700, dir_fd=self._working)
        self._top = _opened(self._hidden, READ, undo, self._working)
        note.made(self._top)
        # In a set-group-id directory it has that bit and group, and would hand both down.
        os.fchown(self._top, os.geteuid(), os.getegid())
        os.fchmod(self._top, 0o700)
        request = self._request
        user = (request.user.uid, request.user.gid)
        rules = Rules(
            request.owner or (lambda _: user),
            user,
            set_id=request.set_id,
            outside_links=request.outside_links,
            most_entries=request.most_entries,
            most_bytes=request.most_bytes,
        )
        self._tree = Extractor(self._top, rules)
        undo.callback(self._tree.close)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the archive.

        Raises:
            EnvdError: they are refused, or there is no room.
        """
        self._received += len(piece)
        with acting_as(self._request.user):
            for data in self._unpacker.unpack(piece):
                self._reader.feed(data)

    def commit(self) -> Extracted:
        """Put everything in place.

        Raises:
            EnvdError: INVALID_ARGUMENT if the archive is not complete, ALREADY_EXISTS for a conflict, and nothing was
                changed. Otherwise some entries may be in place, and the message says how many.
        """
        with acting_as(self._request.user):
            self._unpacker.end()
            self._reader.end()
            self._tree.complete()
            return self._put_in_place()

    def _put_in_place(self) -> Extracted:
        merge = Merge(self._request.conflict, self._temporaries)
        try:
            created = not self._exists and self._rename()
            place = self._top if created else self._old()
            if not created:
                merge.run(self._top, place)
            helped, self._made_directories, self._helped = bool(self._helped), (), ()
            unseal(self._tree.position.sealed, place)
        except OSError as exc:
            raise from_os_error(exc, doing=f"extract to {self._target}") from exc
        tree = self._tree
        entries = tree.entries - merge.skipped
        return Extracted(self._target, created or helped, entries, tree.content_bytes, self._received, merge.skipped)

    def _rename(self) -> bool:
        """Put the whole directory in place; return False if there is one by now."""
        try:
            os.rename(self._hidden, self._name, src_dir_fd=self._working, dst_dir_fd=self._working)
        except OSError as exc:
            if exc.errno in _TAKEN:
                return False
            raise
        return True

    def _old(self) -> int:
        """Return the directory that was there, open."""
        return self._working if self._exists else _opened(self._name, SEARCH, self._undo, self._working)

    def close(self) -> None:
        """Let go of everything; without a commit, leave everything as it was."""
        with acting_as(self._request.user):
            self._undo.close()
        remove_directories_as(self._helped, self._request.user, helped=True)

    def _remove_made(self) -> None:
        remove_directories(self._made_directories)


def _opened(name: str, flags: int, undo: ExitStack, directory: int) -> int:
    fd = open_entry(directory, name, flags)
    undo.callback(os.close, fd)
    return fd


def _look(path: str) -> tuple[str, bool]:
    """Return the target with all links resolved, and whether it is there."""
    real = os.path.realpath(path)
    try:
        fd = open_path(path)
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                real = path_of(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return real, False
    except OSError as exc:
        raise from_os_error(exc, doing=f"extract to {path}") from exc
    if not stat.S_ISDIR(mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a file: {path}")
    return real, True
