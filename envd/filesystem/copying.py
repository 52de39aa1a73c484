"""Copying entries, one or whole trees."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error
from envd.host.users import User

from . import attributes, content
from .directories import make_parents, remove_directories
from .hidden_names import TEMPORARY
from .temporary import Temporaries, Temporary, hidden_beside

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Order:
    """How to copy.

    Attributes:
        owner: to whom the copies belong; None: to whom the originals do.
        times: keep them.
        recursive: directories too.
        overwrite: replace files and merge directories.
        special: copy fifos, sockets and devices too, and keep hard links between the copies.
    """

    owner: User | None
    times: bool = False
    recursive: bool = False
    overwrite: bool = False
    special: bool = False


@dataclass(slots=True)
class Copied:
    """What a copy came to.

    Attributes:
        entries: files, links and directories made or replaced.
        size: bytes of content.
    """

    entries: int = 0
    size: int = 0


def copy(source: str, destination: str, owner: User, order: Order, temporaries: Temporaries) -> Copied:
    """Copy an entry to a path, making the directories above it. Blocks.

    A directory that was not there appears complete, or not at all. One that was there gets each file whole or not at
    all; if something fails in between, what was copied before stays.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be copied, ALREADY_EXISTS if something is in the way.
    """
    destination = destination.rstrip("/") or "/"
    attempt = f"copy {source} to {destination}"
    made: tuple[str, ...] = ()
    copied = Copied()
    try:
        st = os.stat(source, follow_symlinks=False)
        there = _look(destination)
        _check(source, st, order)
        _check_apart(source, destination, st, there)
        if there is not None and not order.overwrite:
            raise FileExistsError(17, os.strerror(17), destination)
        made = make_parents(destination, owner)
        if stat.S_ISDIR(st.st_mode) and there is None:
            _copy_aside(source, destination, _Copier(order, copied, temporaries))
        else:
            _Copier(order, copied, temporaries).copy(source, destination)
    except OSError as exc:
        remove_directories(made)
        raise from_os_error(exc, doing=attempt) from exc
    except EnvdError:
        remove_directories(made)
        raise
    return copied


def copy_whole(source: str, destination: str, temporaries: Temporaries) -> None:
    """Copy an entry with all there is about it; the copy appears complete, or not at all. Blocks.

    Raises:
        OSError: it could not be copied.
    """
    order = Order(None, times=True, recursive=True, special=True)
    _copy_aside(source, destination, _Copier(order, Copied(), temporaries))


def _copy_aside(source: str, destination: str, copier: _Copier) -> None:
    with hidden_beside(destination, copier.temporaries) as hidden:
        copier.copy(source, hidden)
        os.rename(hidden, destination)


def _look(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _check(source: str, st: os.stat_result, order: Order) -> None:
    """Refuse what is not copied before anything is."""
    if not stat.S_ISDIR(st.st_mode):
        _check_kind(source, st.st_mode)
        return
    if not order.recursive:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{source} is a directory: set recursive to copy it")
    for path, found in _below(source):
        _check_kind(path, found.st_mode)


def _below(top: str) -> Iterator[tuple[str, os.stat_result]]:
    todo = [top]
    while todo:
        with os.scandir(todo.pop()) as scan:
            for found in scan:
                with contextlib.suppress(FileNotFoundError):
                    yield found.path, found.stat(follow_symlinks=False)
                    if found.is_dir(follow_symlinks=False):
                        todo.append(found.path)


def _check_kind(path: str, st_mode: int) -> None:
    if not (stat.S_ISREG(st_mode) or stat.S_ISDIR(st_mode) or stat.S_ISLNK(st_mode)):
        raise EnvdError(Code.INVALID_ARGUMENT, f"{path} is a fifo, socket or device, which is not copied")


def _check_apart(source: str, destination: str, st: os.stat_result, there: os.stat_result | None) -> None:
    if there is not None and os.path.samestat(st, there):
        raise EnvdError(Code.INVALID_ARGUMENT, f"{source} and {destination} are the same")
    if stat.S_ISDIR(st.st_mode):
        inside = os.path.realpath(os.path.dirname(destination.rstrip("/")))
        real = os.path.realpath(source)
        if os.path.commonpath([inside, real]) == real:
            raise EnvdError(Code.INVALID_ARGUMENT, f"{destination} lies within {source}, which cannot hold itself")


@dataclass(slots=True)
class _Copier:
    order: Order
    copied: Copied
    temporaries: Temporaries
    links: dict[tuple[int, int], str] = field(default_factory=dict)

    def copy(self, source: str, destination: str) -> None:
        """Copy an entry, and what is below it, without recursion: a tree may be deeper than Python's stack."""
        todo = [(source, destination)]
        unfinished: list[tuple[str, os.stat_result]] = []
        while todo:
            source, destination = todo.pop()
            st = _look(source)
            if st is None:
                if not self.copied.entries:
                    raise FileNotFoundError(2, os.strerror(2), source)
                continue  # gone meanwhile
            if not stat.S_ISDIR(st.st_mode):
                self._copy_one(source, destination, st)
                continue
            if self._make_directory(destination):
                unfinished.append((destination, st))
                attributes.copy_extended_of_path(source, destination)
            with os.scandir(source) as scan:
                todo += [(found.path, f"{destination}/{found.name}") for found in scan if self._is_wanted(found.name)]
        for path, st in reversed(unfinished):
            self._finish(path, st)

    def _is_wanted(self, name: str) -> bool:
        """Leave out what uploads gather: in a copy nobody would ever remove it. A move takes everything."""
        return self.order.special or not TEMPORARY.fullmatch(name)

    def _make_directory(self, path: str) -> bool:
        """Make a directory; return False if it was there."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            there = os.stat(path, follow_symlinks=False)
            if not (self.order.overwrite and stat.S_ISDIR(there.st_mode)):
                raise
            return False
        self.copied.entries += 1
        return True

    def _copy_one(self, source: str, destination: str, st: os.stat_result) -> None:
        known = self.links.get((st.st_dev, st.st_ino)) if self.order.special and st.st_nlink > 1 else None
        if known is not None:
            os.link(known, destination, follow_symlinks=False)
        elif stat.S_ISREG(st.st_mode):
            self._copy_file(source, destination)
        elif stat.S_ISLNK(st.st_mode):
            self._put(destination, st, os.readlink(source))
        elif self.order.special:
            self._put(destination, st, None)
        else:
            _check_kind(source, st.st_mode)
        self.copied.entries += 1
        if self.order.special and st.st_nlink > 1:
            self.links[st.st_dev, st.st_ino] = destination

    def _copy_file(self, source: str, destination: str) -> None:
        parent, name = os.path.split(destination)
        with contextlib.ExitStack() as fds:
            original = os.open(source, _READ)
            fds.callback(os.close, original)
            st = os.fstat(original)
            _check_kind(source, st.st_mode)
            directory = os.open(parent, _PARENT)
            fds.callback(os.close, directory)
            temporary = Temporary(directory, self.temporaries, 0o600)
            fds.callback(temporary.close)
            self.copied.size += content.copy(original, temporary.fd)
            attributes.copy_extended(original, temporary.fd)
            self._finish_open(temporary.fd, st)
            try:
                temporary.place(name)
            except FileExistsError:
                self._check_replaceable(destination)
                temporary.replace(name)

    def _check_replaceable(self, destination: str) -> None:
        there = _look(destination)
        if not self.order.overwrite or (there is not None and stat.S_ISDIR(there.st_mode)):
            raise FileExistsError(17, os.strerror(17), destination)

    def _put(self, destination: str, st: os.stat_result, link_text: str | None) -> None:
        """Make a link, or a special file, in the place of what may be there."""
        if _look(destination) is not None:
            self._check_replaceable(destination)
        with hidden_beside(destination, self.temporaries) as hidden:
            if link_text is not None:
                os.symlink(link_text, hidden)
            else:
                os.mknod(hidden, st.st_mode, st.st_rdev)
            self._finish(hidden, st)
            os.rename(hidden, destination)

    def _finish(self, path: str, st: os.stat_result) -> None:
        owner = self.order.owner
        uid, gid = (st.st_uid, st.st_gid) if owner is None else (owner.uid, owner.gid)
        attributes.chown_if_other(path, uid, gid)
        if not stat.S_ISLNK(st.st_mode):
            os.chmod(path, self._mode(st))
        if self.order.times:
            os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)

    def _finish_open(self, fd: int, st: os.stat_result) -> None:
        owner = self.order.owner
        uid, gid = (st.st_uid, st.st_gid) if owner is None else (owner.uid, owner.gid)
        attributes.chown_if_other(fd, uid, gid)
        os.fchmod(fd, self._mode(st))
        if self.order.times:
            os.utime(fd, ns=(st.st_atime_ns, st.st_mtime_ns))

    def _mode(self, st: os.stat_result) -> int:
        """Return the mode of a copy: without set-id bits if it may belong to somebody else."""
        if self.order.owner is None or stat.S_ISDIR(st.st_mode):
            return stat.S_IMODE(st.st_mode)
        return attributes.kept_mode(st)
