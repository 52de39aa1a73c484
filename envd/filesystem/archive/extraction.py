"""An archive on its way in. Everything here blocks: for threads, one call at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.directories import make_parents, remove_directories
from envd.filesystem.temporary import Temporaries, hidden_beside
from envd.host.users import User

from . import coding
from .coding import Format
from .finishing import MOST_ENTRIES, Rules
from .member import Member
from .merging import Conflict, Merge, unseal
from .reader import Reader
from .tree import Tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WORKING = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # it may be one that cannot be read
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


@dataclass(frozen=True, slots=True)
class Order:
    """How to extract.

    Attributes:
        path: absolute; links are followed.
        user: to whom belongs what nothing else is said of.
        owner: says to whom an entry belongs; None: to the user.
        form: None: what the first bytes show.
        set_id: keep set-user-id and set-group-id bits.
        outside_links: take symbolic links that lead outside.
        most_entries: more are refused.
        most_bytes: of content; more are refused. None: there is no limit.
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


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an extraction came to.

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

    def __init__(self, order: Order, temporaries: Temporaries) -> None:
        self._order = order
        self._temporaries = temporaries
        self._received = 0
        self._unpacker = coding.unpacker(order.form)
        with ExitStack() as undo:
            self._target, self._there = _look(order.path)
            self._made = () if self._there else make_parents(self._target, order.user)
            undo.callback(self._remove_parents)
            try:
                self._begin(undo)
            except OSError as exc:
                raise from_os_error(exc, doing=f"extract to {self._target}") from exc
            self._reader = Reader(self._tree)
            self._undo = undo.pop_all()

    def _begin(self, undo: ExitStack) -> None:
        """Open the directory to work in, and make the hidden one there."""
        above, self._name = os.path.split(self._target)
        working = self._target if self._there else above
        self._working = _opened(working, _WORKING, undo)
        hidden = undo.enter_context(hidden_beside(os.path.join(working, "entries"), self._temporaries))
        self._hidden = os.path.basename(hidden)
        os.mkdir(self._hidden, 0o700, dir_fd=self._working)
        self._top = _opened(self._hidden, _DIRECTORY, undo, self._working)
        # In a set-group-id directory it has that bit and group, and would hand both down.
        os.fchown(self._top, os.geteuid(), os.getegid())
        os.fchmod(self._top, 0o700)
        order = self._order
        user = (order.user.uid, order.user.gid)
        rules = Rules(
            order.owner or (lambda _: user),
            user,
            set_id=order.set_id,
            outside_links=order.outside_links,
            most_entries=order.most_entries,
            most_bytes=order.most_bytes,
        )
        self._tree = Tree(self._top, rules)
        undo.callback(self._tree.close)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the archive.

        Raises:
            EnvdError: they are refused, or there is no room.
        """
        self._received += len(piece)
        for data in self._unpacker.unpack(piece):
            self._reader.feed(data)

    def commit(self) -> Extracted:
        """Put everything in place.

        Raises:
            EnvdError: INVALID_ARGUMENT if the archive is not complete, ALREADY_EXISTS for a conflict, and nothing was
                changed. Otherwise some entries may be in place, and the message says how many.
        """
        self._unpacker.end()
        self._reader.end()
        self._tree.complete()
        merge = Merge(self._order.conflict, self._temporaries)
        try:
            created = not self._there and self._rename()
            place = self._top if created else self._old()
            if not created:
                merge.run(self._top, place)
            self._made = ()
            unseal(self._tree.position.sealed, place)
        except OSError as exc:
            raise from_os_error(exc, doing=f"extract to {self._target}") from exc
        tree = self._tree
        done = tree.entries - merge.skipped
        return Extracted(self._target, created, done, tree.content_bytes, self._received, merge.skipped)

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
        return self._working if self._there else _opened(self._name, _WORKING, self._undo, self._working)

    def close(self) -> None:
        """Let go of everything; without a commit, leave everything as it was."""
        self._undo.close()

    def _remove_parents(self) -> None:
        remove_directories(self._made)


def _opened(path: str, flags: int, undo: ExitStack, directory: int | None = None) -> int:
    fd = os.open(path, flags, dir_fd=directory)
    undo.callback(os.close, fd)
    return fd


def _look(path: str) -> tuple[str, bool]:
    """Return the target with all links resolved, and whether it is there."""
    try:
        real = os.path.realpath(path)
        mode = os.stat(real).st_mode
    except FileNotFoundError:
        return real, False
    except OSError as exc:
        raise from_os_error(exc, doing=f"extract to {path}") from exc
    if not stat.S_ISDIR(mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a file: {path}")
    return real, True
