"""Copies entries, one or whole trees."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from envd.errors import Code, EnvdError, from_os_error
from envd.host.users import User

from . import attributes, copy_bytes
from .access import open_parent
from .walking import OTHER, READ, SEARCH, Descent, Inode, Walk, inode_of, is_within, open_down, open_entry
from .writing.directories import make_parents, remove_directories
from .writing.hidden_names import TEMPORARY
from .writing.in_place import NO_PLACE, Elsewhere, Finish, check_room, copy_into
from .writing.target import Target
from .writing.temporary import Temporaries, Temporary, hidden_in

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_RACES = 10
# What an entry is refused with that is not what it was a moment ago.
_ANOTHER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """Options of a copy.

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
    """The summary of a copy.

    Attributes:
        entries: files, links and directories made or replaced.
        size: bytes of content.
    """

    entries: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """A name in an open directory, which stays the caller's."""

    directory: int
    name: str

    def look(self) -> os.stat_result | None:
        """Return the state of what has the name, also of a link; None if nothing has."""
        try:
            return os.lstat(self.name, dir_fd=self.directory)
        except FileNotFoundError:
            return None


def copy(source: str, destination: str, owner: User, order: CopyRequest, temporaries: Temporaries) -> Copied:
    """Copy an entry to a path, making the directories above it. Blocks.

    A directory that was not there appears complete, or not at all. One that was there gets each file whole or not at
    all; if something fails in between, what was copied before stays. Nobody who renames things meanwhile can have
    anything copied but what is in the source, nor to anywhere but into the destination.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be copied, ALREADY_EXISTS if something is in the way.
    """
    destination = destination.rstrip("/") or "/"
    copied = Copied()
    with contextlib.ExitStack() as undo:
        try:
            original = _opened(source, undo)
            st = _state(original, source)
            _check(original, source, st, order)
            made = make_parents(destination, owner)
            undo.callback(remove_directories, made)
            target = _opened(destination, undo)
            existing = target.look()
            _check_apart(source, destination, st, existing, target.directory)
            if existing is not None and not order.overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), destination)
            copier = _Copier(order, copied, temporaries)
            if stat.S_ISDIR(st.st_mode) and existing is None:
                _copy_aside(original, target, copier, destination)
            else:
                copier.copy(original, target)
            undo.pop_all()
            _close(original, target)
        except OSError as exc:
            raise from_os_error(exc, doing=f"copy {source} to {destination}") from exc
    return copied


def _opened(path: str, undo: contextlib.ExitStack) -> Named:
    directory, name = open_parent(path)
    undo.callback(os.close, directory)
    return Named(directory, name or ".")


def _close(*names: Named) -> None:
    for named in names:
        os.close(named.directory)


def _state(original: Named, path: str) -> os.stat_result:
    st = original.look()
    if st is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return st


def copy_whole(source: Named, destination: Named, temporaries: Temporaries) -> None:
    """Copy an entry with all there is about it; the copy appears complete, or not at all. Blocks.

    A file may take the place of another one; where it cannot, that one is overwritten.

    Raises:
        OSError: it could not be copied.
    """
    order = CopyRequest(None, times=True, recursive=True, special=True)
    st = source.look()
    if st is not None and stat.S_ISREG(st.st_mode):
        _Copier(replace(order, overwrite=True), Copied(), temporaries).copy(source, destination)
        return
    _copy_aside(source, destination, _Copier(order, Copied(), temporaries))


def _copy_aside(source: Named, destination: Named, copier: _Copier, path: str = "") -> None:
    directory = destination.directory
    with hidden_in(directory, copier.temporaries) as (hidden, note):
        copier.copy(source, Named(directory, hidden), made=note.made)
        if path:
            _check_leads_to(path, directory)
        os.rename(hidden, destination.name, src_dir_fd=directory, dst_dir_fd=directory)


def _check_leads_to(path: str, directory: int) -> None:
    """Check that a path still names an entry of a directory: who asks for that path would not find it elsewhere."""
    parent, _ = open_parent(path)
    try:
        if inode_of(parent) != inode_of(directory):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    finally:
        os.close(parent)


def _check(original: Named, path: str, st: os.stat_result, order: CopyRequest) -> None:
    """Refuse what is not copied before anything is."""
    if not stat.S_ISDIR(st.st_mode):
        _check_kind(path, st.st_mode)
        return
    if not order.recursive:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{path} is a directory: set recursive to copy it")
    top = open_entry(original.directory, original.name, READ)
    try:
        with Walk(top, f"{path.rstrip('/')}/", _raise) as walk:
            for name, kind in walk:
                if kind == OTHER:
                    raise _not_copied(walk.state + name)
                if kind == stat.S_IFDIR:
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        walk.enter(name, f"{walk.state}{name}/")
    finally:
        os.close(top)


def _raise(_: object, exc: OSError) -> None:
    raise exc


def _check_kind(path: str, st_mode: int) -> None:
    if not (stat.S_ISREG(st_mode) or stat.S_ISDIR(st_mode) or stat.S_ISLNK(st_mode)):
        raise _not_copied(path)


def _not_copied(path: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"{path} is a fifo, socket or device, which is not copied")


def _check_apart(
    source: str, destination: str, st: os.stat_result, existing: os.stat_result | None, directory: int
) -> None:
    if existing is not None and os.path.samestat(st, existing):
        raise EnvdError(Code.INVALID_ARGUMENT, f"{source} and {destination} are the same")
    if stat.S_ISDIR(st.st_mode) and is_within(directory, (st.st_dev, st.st_ino)):
        raise EnvdError(Code.INVALID_ARGUMENT, f"{destination} lies within {source}, which cannot hold itself")


class _CopyLevel(NamedTuple):
    """A directory on the way through the source: its state, and whether its copy is new."""

    st: os.stat_result
    new: bool


class _Copier:
    def __init__(self, order: CopyRequest, copied: Copied, temporaries: Temporaries) -> None:
        self._order = order
        self._copied = copied
        self.temporaries = temporaries
        self._links: dict[Inode, str] = {}

    def copy(self, source: Named, destination: Named, *, made: Callable[[int], None] | None = None) -> None:
        """Copy an entry, and what is below it; if it is a directory, `made` hears of the copy while it is empty."""
        st = _state(source, source.name)
        if not stat.S_ISDIR(st.st_mode):
            self._copy_one(source, destination, st)
            return
        with contextlib.ExitStack() as fds:
            original = open_entry(source.directory, source.name, READ)
            fds.callback(os.close, original)
            new = self._make_directory(destination)
            target = open_entry(destination.directory, destination.name, READ)
            fds.callback(os.close, target)
            if made is not None:
                made(target)
            self._copy_tree(original, target, new=new)

    def _copy_tree(self, original: int, target: int, *, new: bool) -> None:
        """Copy all that is in an open directory into another one, which is told apart by its inode if it lies in it."""
        to = Descent(target, above=READ)
        root = inode_of(target)

        def leaving(place: _CopyLevel) -> None:
            if place.new:
                self._finish(to.here, place.st)
            if to.depth:
                to.leave()

        try:
            with Walk(original, _CopyLevel(os.fstat(original), new), _raise, leaving=leaving) as walk:
                if new:
                    attributes.copy_extended(walk.here, to.here)
                for name, _ in walk:
                    if self._is_wanted(name):
                        self._copy_entry(walk, to, name, root)
        finally:
            to.close()

    def _is_wanted(self, name: str) -> bool:
        """Leave out what uploads gather: in a copy nobody would ever remove it. A move takes everything."""
        return self._order.special or not TEMPORARY.fullmatch(name)

    def _copy_entry(self, walk: Walk[_CopyLevel], to: Descent, name: str, root: Inode) -> None:
        """Copy an entry of the directory where the walk is; somebody may make it another one meanwhile."""
        source, destination = Named(walk.here, name), Named(to.here, name)
        for _ in range(_RACES):
            st = source.look()
            if st is None or (st.st_dev, st.st_ino) == root:
                return  # gone meanwhile, or the copy itself
            try:
                if stat.S_ISDIR(st.st_mode):
                    self._enter(walk, to, name)
                else:
                    self._copy_one(source, destination, st, "/".join([*to.names, name]), to.root)
            except OSError as exc:
                if exc.errno not in _ANOTHER or not self._is_another(source, st):
                    raise
            else:
                return
        raise OSError(errno.EBUSY, "an entry was replaced again and again while it was copied", name)

    def _is_another(self, source: Named, st: os.stat_result) -> bool:
        current = source.look()
        return current is None or not os.path.samestat(current, st)

    def _enter(self, walk: Walk[_CopyLevel], to: Descent, name: str) -> None:
        """Go into a directory, and into its copy."""
        place = _CopyLevel(walk.enter(name, walk.state), False)
        try:
            place = place._replace(new=self._make_directory(Named(to.here, name)))
            to.enter(name)
        except OSError:
            walk.leave()
            raise
        walk.state = place
        if place.new:
            attributes.copy_extended(walk.here, to.here)

    def _make_directory(self, place: Named) -> bool:
        """Make a directory; return False if it was there."""
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.directory)
        except FileExistsError:
            existing = place.look()
            if not (self._order.overwrite and existing is not None and stat.S_ISDIR(existing.st_mode)):
                raise
            return False
        self._copied.entries += 1
        return True

    def _copy_one(
        self, source: Named, destination: Named, st: os.stat_result, inside: str = "", root: int = -1
    ) -> None:
        """Copy what is no directory; `inside` names the copy from the root of all copies on."""
        inode = (st.st_dev, st.st_ino)
        several = self._order.special and st.st_nlink > 1 and root >= 0
        if several and inode in self._links:
            self._link(root, self._links[inode], destination)
        elif stat.S_ISREG(st.st_mode):
            self._copy_file(source, destination)
        elif stat.S_ISLNK(st.st_mode):
            self._put(destination, st, os.readlink(source.name, dir_fd=source.directory))
        elif self._order.special:
            self._put(destination, st, None)
        else:
            raise _not_copied(source.name)
        self._copied.entries += 1
        if several:
            self._links[inode] = inside

    def _link(self, root: int, copied_path: str, destination: Named) -> None:
        *above, name = copied_path.split("/")
        directory = open_down(root, above, SEARCH)
        try:
            os.link(
                name, destination.name, src_dir_fd=directory, dst_dir_fd=destination.directory, follow_symlinks=False
            )
        finally:
            os.close(directory)

    def _copy_file(self, source: Named, destination: Named) -> None:
        with contextlib.ExitStack() as fds:
            original = open_entry(source.directory, source.name, _READ)
            fds.callback(os.close, original)
            st = os.fstat(original)
            if not stat.S_ISREG(st.st_mode):
                raise OSError(errno.ELOOP, "another entry has the name by now", source.name)
            try:
                self._copied.size += self._copy_beside(original, st, destination)
            except OSError as exc:
                self._copied.size += self._copy_into(original, st, destination, exc)

    def _copy_beside(self, original: int, st: os.stat_result, destination: Named) -> int:
        """Copy into a new file, which takes its place at once; return the size."""
        with contextlib.closing(Temporary(destination.directory, self.temporaries, 0o600)) as temporary:
            size = copy_bytes.copy(original, temporary.fd)
            attributes.copy_extended(original, temporary.fd)
            self._finish(temporary.fd, st)
            try:
                temporary.place(destination.name)
            except FileExistsError:
                self._check_replaceable(destination)
                temporary.replace(destination.name)
        return size

    def _copy_into(self, original: int, st: os.stat_result, destination: Named, why: OSError) -> int:
        """Copy into the file that is to be replaced, where no other one can take its place; return the size.

        Raises:
            OSError: `why`, if that may not be: it is no plain file, has other names, or belongs to somebody else, who
                may have it open.
        """
        existing = destination.look()
        if existing is None or not self._may_overwrite(existing, st) or why.errno not in NO_PLACE:
            raise why
        with contextlib.closing(Target(destination.name, os.dup(destination.directory), destination.name)) as place:
            check_room(place, why)
            copy_bytes.check_readable(original)

            def before(target: int, _: os.stat_result) -> None:
                attributes.copy_extended(original, target)
                self._finish(target, st)  # it may not be allowed

            finish = Finish(before, lambda target: self._finish(target, st))
            with place.turn:
                copy_into(place, Elsewhere(original), finish, why, alone=True)
        return os.fstat(original).st_size

    def _may_overwrite(self, existing: os.stat_result, st: os.stat_result) -> bool:
        if not self._order.overwrite or not stat.S_ISREG(existing.st_mode) or existing.st_nlink > 1:
            return False
        owner = st.st_uid if self._order.owner is None else self._order.owner.uid
        return existing.st_uid == (owner if os.geteuid() == 0 else os.geteuid())

    def _check_replaceable(self, place: Named) -> None:
        existing = place.look()
        if not self._order.overwrite or (existing is not None and stat.S_ISDIR(existing.st_mode)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place.name)

    def _put(self, place: Named, st: os.stat_result, link_text: str | None) -> None:
        """Make a link, or a special file, in the place of what may be there."""
        if place.look() is not None:
            self._check_replaceable(place)
        directory = place.directory
        with hidden_in(directory, self.temporaries) as (hidden, _):
            if link_text is not None:
                os.symlink(link_text, hidden, dir_fd=directory)
            else:
                os.mknod(hidden, st.st_mode, st.st_rdev, dir_fd=directory)
            self._finish_named(Named(directory, hidden), st)
            os.rename(hidden, place.name, src_dir_fd=directory, dst_dir_fd=directory)

    def _finish_named(self, made: Named, st: os.stat_result) -> None:
        """Finish a link or special file, which cannot be opened, whoever may have taken its name meanwhile."""
        fd = open_entry(made.directory, made.name, os.O_PATH)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != stat.S_IFMT(st.st_mode):
                raise OSError(errno.EBUSY, "somebody else has taken a temporary name", made.name)
            self._finish(f"/proc/self/fd/{fd}", st)
        finally:
            os.close(fd)

    def _finish(self, file: int | str, st: os.stat_result) -> None:
        """Give a copy its owner, mode and times, through a descriptor of it."""
        owner = self._order.owner
        uid, gid = (st.st_uid, st.st_gid) if owner is None else (owner.uid, owner.gid)
        is_its_own = attributes.chown_if_other(file, uid, gid)
        if not stat.S_ISLNK(st.st_mode):
            os.chmod(file, self._mode(st, is_its_own=is_its_own))
        if self._order.times:
            os.utime(file, ns=(st.st_atime_ns, st.st_mtime_ns))

    def _mode(self, st: os.stat_result, *, is_its_own: bool) -> int:
        """Return the mode of a copy: without set-id bits if it may belong to somebody else."""
        if (self._order.owner is None and is_its_own) or stat.S_ISDIR(st.st_mode):
            return stat.S_IMODE(st.st_mode)
        return attributes.kept_mode(st)
