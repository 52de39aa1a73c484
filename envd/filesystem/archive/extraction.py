"""An archive on its way in. Everything here blocks: for threads, one call at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.directories import make_parents, remove_directories
from envd.filesystem.leftovers import Leftovers
from envd.filesystem.temporary import hidden_beside
from envd.host.users import User

from . import coding
from .coding import Format
from .member import Member
from .merging import Conflict, Merge, unseal
from .reader import Reader
from .tree import Rules, Tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
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
    """

    path: str
    user: User
    owner: Callable[[Member], tuple[int, int]] | None = None
    form: Format | None = None
    set_id: bool = False
    outside_links: bool = False
    conflict: Conflict = Conflict.OVERWRITE


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
    directory where something can be made.

    Raises:
        EnvdError: it cannot be extracted there. INVALID_ARGUMENT if the target is no directory.
    """

    def __init__(self, order: Order, leftovers: Leftovers) -> None:
        self._order = order
        self._leftovers = leftovers
        self._received = 0
        self._unpacker = coding.unpacker(order.form)
        with ExitStack() as undo:
            self._target, self._there = _look(order.path)
            self._made = () if self._there else make_parents(self._target, order.user)
            undo.callback(self._remove_parents)
            self._hidden = self._hide(undo)
            self._tree = self._plant(undo)
            self._reader = Reader(self._tree)
            self._undo = undo.pop_all()

    def _hide(self, undo: ExitStack) -> str:
        beside = os.path.join(self._target, "entries") if self._there else self._target
        try:
            hidden = undo.enter_context(hidden_beside(beside, self._leftovers))
            os.mkdir(hidden, 0o700)
            # In a set-group-id directory it has that bit and group, and would hand both down.
            os.chown(hidden, os.geteuid(), os.getegid())
            os.chmod(hidden, 0o700)
        except OSError as exc:
            raise from_os_error(exc, doing=f"extract to {self._target}") from exc
        return hidden

    def _plant(self, undo: ExitStack) -> Tree:
        order = self._order
        user = (order.user.uid, order.user.gid)
        rules = Rules(order.owner or (lambda _: user), user, order.set_id, order.outside_links)
        top = os.open(self._hidden, _DIRECTORY)
        undo.callback(os.close, top)
        tree = Tree(top, rules)
        undo.callback(tree.close)
        return tree

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Take the next bytes of the archive.

        Raises:
            EnvdError: they are refused, or there is no room.
        """
        for piece in pieces:
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
        merge = Merge(self._order.conflict, self._leftovers)
        created = not self._there and self._rename()
        if not created:
            merge.run(self._hidden, self._target)
        self._made = ()
        try:
            unseal(self._tree.sealed, self._target)
        except OSError as exc:
            raise from_os_error(exc, doing="everything is in place; set the modes of directories") from exc
        tree = self._tree
        done = tree.entries - merge.skipped
        return Extracted(self._target, created, done, tree.content_bytes, self._received, merge.skipped)

    def _rename(self) -> bool:
        """Put the whole directory in place; return False if there is one by now."""
        try:
            os.rename(self._hidden, self._target)
        except OSError as exc:
            if exc.errno in _TAKEN:
                return False
            raise from_os_error(exc, doing=f"extract to {self._target}") from exc
        return True

    def close(self) -> None:
        """Let go of everything; without a commit, leave everything as it was."""
        self._undo.close()

    def _remove_parents(self) -> None:
        remove_directories(self._made)


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
