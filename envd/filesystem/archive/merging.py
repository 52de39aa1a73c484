"""Moves an extracted tree to its target. Everything here blocks: call it from a thread."""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.copying import Named, copy_whole
from envd.filesystem.walking import READ, SEARCH, Descent, Inode, Item, Walk
from envd.filesystem.writing.temporary import Temporaries

from .position import Sealed, common_parts
from .safety import Parts

_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
_MANY = 64


class Conflict(enum.Enum):
    """The treatment of an entry whose target exists; numbers as in the contract."""

    OVERWRITE = 0
    FAIL = 1
    SKIP = 2


@dataclass(slots=True)
class Merge:
    """Puts a tree of files into a directory that is there: each file and each new directory by one rename.

    Attributes:
        placed: entries that took their places; a directory with what is in it counts as one.
        skipped: entries whose place was taken.
    """

    conflict: Conflict
    temporaries: Temporaries
    placed: int = 0
    skipped: int = 0
    _replaced: int = 0

    def run(self, new: int, old: int) -> None:
        """Look for conflicts first, then put everything in place; both directories are open, and stay so.

        Raises:
            EnvdError: ALREADY_EXISTS for a conflict, and nothing was changed; any other: some entries may be in place,
                and the message says how many.
        """
        try:
            for _ in self._entries(_Pair(new, old)):
                pass
            if self._replaced >= _MANY:
                _write_out(new)
            self.skipped = 0
            pair = _Pair(new, old)
            for name, kind in self._entries(pair):
                self._place(pair, name, kind)
        except OSError as exc:
            raise from_os_error(exc, doing=f"put entries in place{self._so_far()}") from exc
        except EnvdError as exc:
            exc.message += self._so_far()
            raise

    def _so_far(self) -> str:
        return f" (entries that were put in place before: {self.placed})" if self.placed else ""

    def _entries(self, pair: _Pair) -> Iterator[Item]:
        """Yield every entry that takes a place: not those directories that are in both trees, but what is in them."""
        with closing(pair):
            for name, kind in pair.walk:
                existing = _stat(name, pair.old.here)
                is_directory = kind == stat.S_IFDIR
                if existing is not None and is_directory and stat.S_ISDIR(existing.st_mode):
                    pair.enter(name)
                elif existing is None or self._may_replace(pair, name, existing, is_directory=is_directory):
                    yield name, kind

    def _may_replace(self, pair: _Pair, name: str, existing: os.stat_result, *, is_directory: bool) -> bool:
        path = pair.path_of(name)
        if is_directory or stat.S_ISDIR(existing.st_mode):
            kinds = ("a file or link", "a directory") if is_directory else ("a directory", "none")
            raise EnvdError(Code.ALREADY_EXISTS, f"{path} is {kinds[0]}, and in the archive {kinds[1]}")
        if self.conflict is Conflict.FAIL:
            raise EnvdError(Code.ALREADY_EXISTS, f"{path} is there already")
        self.skipped += self.conflict is Conflict.SKIP
        self._replaced += self.conflict is Conflict.OVERWRITE
        return self.conflict is Conflict.OVERWRITE

    def _place(self, pair: _Pair, name: str, kind: int) -> None:
        new, old = pair.walk.here, pair.old.here
        try:
            if kind != stat.S_IFREG:
                self._rename(new, old, name)
            else:
                filled = pair.walk.stat(name).st_size > 0
                with self.temporaries.placements.placing(pair.old.inode, name, filled=filled):
                    self._rename(new, old, name)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise from_os_error(exc, doing=f"put {pair.path_of(name)} in place") from exc
            # Another file system is mounted at the directory.
            copy_whole(Named(new, name), Named(old, name), self.temporaries)
        self.placed += 1

    def _rename(self, new: int, old: int, name: str) -> None:
        if self.conflict is Conflict.OVERWRITE:
            os.rename(name, name, src_dir_fd=new, dst_dir_fd=old)
        else:
            _rename_if_free(name, new, old)


class _Pair:
    """A directory that is in both trees, and the way to it from the two roots.

    Attributes:
        walk: through the new tree; the state of a directory begins the names of what is in it, relative to the target.
        old: the way to the one that is there. By its inode watches know it.
    """

    def __init__(self, new: int, old: int) -> None:
        self.old = Descent(old)
        self.walk = Walk(new, "", _raise, leaving=self._leave)

    def enter(self, name: str) -> None:
        """Go into a directory that is in both."""
        self.walk.enter(name, f"{self.path_of(name)}/")
        try:
            self.old.enter(name, flags=SEARCH)  # it may be one that cannot be read
        except OSError:
            self.walk.leave()
            raise

    def path_of(self, name: str) -> str:
        """Return an entry's name relative to the target."""
        return self.walk.state + name

    def _leave(self, _: str) -> None:
        if self.old.depth:
            self.old.leave()

    def close(self) -> None:
        """Let go of both."""
        self.walk.close()
        self.old.close()


def _raise(_: str, exc: OSError) -> None:
    raise exc


def unseal(sealed: Mapping[Inode, Sealed], target: int) -> None:
    """Give the directories that lock their owner out their modes, the lowest first; those that were there keep theirs.

    Raises:
        OSError: it could not be done.
    """
    descent = Descent(target, above=READ)
    try:
        # Of two one in the other the lower one comes first.
        for inode, directory in sorted(sealed.items(), key=lambda item: item[1].parts, reverse=True):
            if _go(descent, directory.parts) and descent.inode == inode:
                os.fchmod(descent.here, directory.mode)
    finally:
        descent.close()


def _go(descent: Descent, parts: Parts) -> bool:
    """Go to a directory; return False if it is not there: skipped, or removed by somebody else."""
    names = descent.names
    common = common_parts(names, parts)
    for _ in names[common:]:
        descent.leave()
    try:
        for name in parts[common:]:
            descent.enter(name)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _write_out(directory: int) -> None:
    """Have everything in a file system on the disk.

    Otherwise ext4 writes each file out at the moment when it replaces another one (auto_da_alloc), which takes 1 to 2
    ms. All together take some tens.
    """
    if ctypes.CDLL(None, use_errno=True).syncfs(directory):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _stat(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _rename_if_free(name: str, new: int, old: int) -> None:
    """Move an entry to a place that must be free. A directory's can be taken by an empty directory."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=new).st_mode):
        try:
            os.link(name, name, src_dir_fd=new, dst_dir_fd=old, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NO_HARD_LINKS:
                raise
        else:
            os.unlink(name, dir_fd=new)
            return
    os.rename(name, name, src_dir_fd=new, dst_dir_fd=old)
