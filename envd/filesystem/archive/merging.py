"""Putting what was extracted aside in its place. Everything here blocks: for threads."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.copying import copy_whole
from envd.filesystem.temporary import Temporaries

from .position import Inode, Sealed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # it may be one that cannot be read
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
_MANY = 64
_SLICE = 128
_BREATH_S = 50e-6


class Conflict(enum.Enum):
    """What happens to an entry whose place is taken; numbers as in the contract."""

    OVERWRITE = 0
    FAIL = 1
    SKIP = 2


@dataclass(slots=True)
class _Pair:
    """A directory that is in both trees: open, ours; and what is still to come of the new one.

    Attributes:
        name: relative to the target, for messages; empty for the target itself.
        key: device and inode of the old one, by which watches know it.
    """

    name: str
    new: int
    old: int
    key: tuple[int, int]
    scan: Iterator[os.DirEntry[str]]

    def close(self) -> None:
        self.scan.close()  # type: ignore[attr-defined]  # of an os.scandir
        os.close(self.new)
        os.close(self.old)

    def path_of(self, name: str) -> str:
        """Return an entry's name relative to the target."""
        return f"{self.name}/{name}" if self.name else name


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
    _pairs: list[_Pair] = field(default_factory=list)

    def run(self, new: int, old: int) -> None:
        """Look for conflicts first, then put everything in place; both directories are open, and stay so.

        Raises:
            EnvdError: ALREADY_EXISTS for a conflict, and nothing was changed; any other: some entries may be in place,
                and the message says how many.
        """
        try:
            for _ in self._walk(new, old):
                pass
            if self._replaced >= _MANY:
                _write_out(new)
            self.skipped = 0
            for pair, found in self._walk(new, old):
                self._place(pair, found)
        except OSError as exc:
            raise from_os_error(exc, doing=f"put entries in place{self._so_far()}") from exc
        except EnvdError as exc:
            exc.message += self._so_far()
            raise
        finally:
            while self._pairs:
                self._pairs.pop().close()

    def _so_far(self) -> str:
        return f" (entries that were put in place before: {self.placed})" if self.placed else ""

    def _walk(self, new: int, old: int) -> Iterator[tuple[_Pair, os.DirEntry[str]]]:
        """Yield every entry that takes a place: not those directories that are in both trees, but what is in them."""
        self._push("", os.dup(new), os.dup(old))
        count = 0
        while self._pairs:
            pair = self._pairs[-1]
            found = next(pair.scan, None)
            if found is None:
                self._pairs.pop().close()
                continue
            count += 1
            if count % _SLICE == 0:
                time.sleep(_BREATH_S)
            is_directory = found.is_dir(follow_symlinks=False)
            there = _stat(found.name, pair.old)
            if there is not None and is_directory and stat.S_ISDIR(there.st_mode):
                self._descend(pair, found.name)
            elif there is None or self._may_replace(pair, found.name, there, is_directory=is_directory):
                yield pair, found

    def _push(self, name: str, new: int, old: int) -> None:
        st = os.fstat(old)
        self._pairs.append(_Pair(name, new, old, (st.st_dev, st.st_ino), os.scandir(new)))

    def _descend(self, pair: _Pair, name: str) -> None:
        new = os.open(name, _DIRECTORY, dir_fd=pair.new)
        try:
            old = os.open(name, _OLD, dir_fd=pair.old)
        except OSError:
            os.close(new)
            raise
        self._push(pair.path_of(name), new, old)

    def _may_replace(self, pair: _Pair, name: str, there: os.stat_result, *, is_directory: bool) -> bool:
        path = pair.path_of(name)
        if is_directory or stat.S_ISDIR(there.st_mode):
            kinds = ("a file or link", "a directory") if is_directory else ("a directory", "none")
            raise EnvdError(Code.ALREADY_EXISTS, f"{path} is {kinds[0]}, and in the archive {kinds[1]}")
        if self.conflict is Conflict.FAIL:
            raise EnvdError(Code.ALREADY_EXISTS, f"{path} is there already")
        self.skipped += self.conflict is Conflict.SKIP
        self._replaced += self.conflict is Conflict.OVERWRITE
        return self.conflict is Conflict.OVERWRITE

    def _place(self, pair: _Pair, found: os.DirEntry[str]) -> None:
        name = found.name
        try:
            if not found.is_file(follow_symlinks=False):
                self._rename(pair, name)
            else:
                filled = found.stat(follow_symlinks=False).st_size > 0
                with self.temporaries.placements.placing(pair.key, name, filled=filled):
                    self._rename(pair, name)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise from_os_error(exc, doing=f"put {pair.path_of(name)} in place") from exc
            # Another file system is mounted at the directory.
            copy_whole(f"{_path_of(pair.new)}/{name}", f"{_path_of(pair.old)}/{name}", self.temporaries)
        self.placed += 1

    def _rename(self, pair: _Pair, name: str) -> None:
        if self.conflict is Conflict.OVERWRITE:
            os.rename(name, name, src_dir_fd=pair.new, dst_dir_fd=pair.old)
        else:
            _rename_if_free(name, pair)


def unseal(sealed: Mapping[Inode, Sealed], target: int) -> None:
    """Give the directories that lock their owner out their modes, the lowest first; those that were there keep theirs.

    Raises:
        OSError: it could not be done.
    """
    for inode, one in sorted(sealed.items(), key=lambda item: -len(item[1].parts)):
        with contextlib.ExitStack() as fds:
            fd = os.dup(target)
            fds.callback(os.close, fd)
            try:
                for part in one.parts:
                    fd = os.open(part, _DIRECTORY, dir_fd=fd)
                    fds.callback(os.close, fd)
            except FileNotFoundError:
                continue  # skipped, or removed by somebody else
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) == inode:
                os.fchmod(fd, one.mode)


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


def _rename_if_free(name: str, pair: _Pair) -> None:
    """Move an entry to a place that must be free. A directory's can be taken by an empty directory."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=pair.new, follow_symlinks=False).st_mode):
        try:
            os.link(name, name, src_dir_fd=pair.new, dst_dir_fd=pair.old, follow_symlinks=False)
        except OSError as exc:
            if exc.errno not in _NO_HARD_LINKS:
                raise
        else:
            os.unlink(name, dir_fd=pair.new)
            return
    os.rename(name, name, src_dir_fd=pair.new, dst_dir_fd=pair.old)


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")
