"""Descriptions of entries of a file system."""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from envd.errors import Code, EnvdError, from_os_error

from . import metadata as pairs
from .access import naming_in, open_and_look, open_cached, open_path

_NOTHING: Mapping[str, str] = MappingProxyType({})

# Go's letters for what st_mode says, before the nine of rwx; line 81 to 87 of docs/compatibility.md.
_TYPE_LETTERS = {
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "L",
    stat.S_IFBLK: "D",
    stat.S_IFCHR: "Dc",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "S",
}
_BIT_LETTERS = ((stat.S_ISUID, "u"), (stat.S_ISGID, "g"), (stat.S_ISVTX, "t"))
_RWX = tuple(
    "".join(letter if bits >> 8 - at & 1 else "-" for at, letter in enumerate("rwxrwxrwx")) for bits in range(0o1000)
)


class FileKind(enum.IntEnum):
    """The type of an entry, or of a link's target; numbers as in the contract."""

    OTHER = 0
    FILE = 1
    DIRECTORY = 2


_FDS = "/proc/self/fd"
_HAS_FDS = os.path.exists(_FDS)
_HAVE_METADATA = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
_KINDS = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY}

Seen = tuple[str, str, os.stat_result]
"""The name of an entry in its directory, the path to show, and its state."""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link and its target.

    Attributes:
        text: what is stored in it.
        leads_to: the absolute path it leads to in the end, or its own if that is nothing.
        stat: of what it leads to; None if that is nothing.
    """

    text: bytes
    leads_to: str
    stat: os.stat_result | None


class Entry(NamedTuple):
    """One entry. Names that are not UTF-8 have surrogates in their place.

    A tuple because listings make a hundred thousand: a frozen dataclass costs three times as much.

    Attributes:
        path: as asked for.
        stat: of the entry itself, also if it is a link.
        link: None if it is none.
        metadata: the callers' pairs.
    """

    path: str
    stat: os.stat_result
    link: Link | None = None
    metadata: Mapping[str, str] = _NOTHING

    @property
    def end(self) -> os.stat_result | None:
        """Of the entry, or of what the link leads to; None if that is nothing."""
        return self.link.stat if self.link else self.stat

    @property
    def name(self) -> str:
        """The last part of the path; `/` for the root."""
        return name_of(self.path)

    @property
    def kind(self) -> FileKind:
        """What it is, or leads to."""
        end = self.end
        return kind_of(end.st_mode) if end else FileKind.OTHER

    @property
    def mode(self) -> int:
        """Permission bits, of a link those of what it leads to."""
        end = self.end
        return end.st_mode & 0o777 if end else 0

    @property
    def permissions(self) -> str:
        """Letters as clients of the reference know them."""
        return permissions_of(self.stat.st_mode)

    @property
    def etag(self) -> str:
        """A token of the content; empty if it is no regular file and leads to none."""
        end = self.end
        return etag_of(end) if end else ""


def entry_of(path: str) -> Entry:
    """Look at an entry, not following a link at the end of the path. Blocks.

    Raises:
        EnvdError: NOT_FOUND if there is none, or it cannot be reached.
    """
    try:
        fd, st = open_and_look(path, os.O_PATH, follow=False)
    except (FileNotFoundError, NotADirectoryError) as exc:
        reason = os.strerror(exc.errno or 0).lower()
        raise EnvdError(Code.NOT_FOUND, f"file not found: lstat {path}: {reason}") from exc
    except OSError as exc:
        raise from_os_error(exc, doing=f"error getting file info: lstat {path}") from exc
    try:
        if stat.S_ISLNK(st.st_mode):
            return _describe_link(os.readlink(b"", dir_fd=fd), path, path, None, st, with_metadata=True)
        return _describe_open(fd, path, st)
    finally:
        os.close(fd)


def cached_entry(path: str) -> Entry | None:
    """Look at an entry on the event loop: as entry_of if the kernel has all of it in memory, None if it takes a thread.

    None also for a link, which leads elsewhere, and for what is not there.
    """
    fd = open_cached(path) if _HAS_FDS else None
    if fd is None:
        return None
    try:
        st = os.fstat(fd)
        return None if stat.S_ISLNK(st.st_mode) else _describe_open(fd, path, st)
    finally:
        os.close(fd)


def _describe_open(fd: int, path: str, st: os.stat_result) -> Entry:
    """Return an entry that is no link and open with O_PATH."""
    has_metadata = stat.S_IFMT(st.st_mode) in _HAVE_METADATA
    return Entry(path, st, None, _metadata_of(fd, path) if has_metadata else _NOTHING)


def describe_in(directory: int, name: str, path: str, st: os.stat_result, *, with_metadata: bool = True) -> Entry:
    """Return an entry of an open directory whose state is known already, shown by a path. Blocks."""
    return describe_all(directory, ((name, path, st),), with_metadata=with_metadata)[0]


def describe_all(directory: int, entries: Iterable[Seen], *, with_metadata: bool = True) -> list[Entry]:
    """Return entries of an open directory: for each name in it, the path to show and its state. Blocks."""
    if not with_metadata:
        return [_described(directory, entry, None) for entry in entries]
    with naming_in(directory) as prefix:
        return [_described(directory, entry, prefix) for entry in entries]


def _described(directory: int, entry: Seen, prefix: str | None) -> Entry:
    """Return one entry, with its metadata if there is what goes before its name to read them."""
    name, path, st = entry
    file_type = stat.S_IFMT(st.st_mode)
    if file_type == stat.S_IFLNK:
        try:
            text = os.readlink(os.fsencode(name), dir_fd=directory)
        except OSError:
            return Entry(path, st)  # no link any more
        return _describe_link(text, path, name, directory, st, with_metadata=prefix is not None)
    # xattr(7): fifos, sockets and devices have no attributes of this kind.
    if prefix is not None and file_type in _HAVE_METADATA:
        return Entry(path, st, None, pairs.read(prefix + name, follow=False) or _NOTHING)
    return Entry(path, st)


def _describe_link(
    text: bytes, path: str, name: str, directory: int | None, st: os.stat_result, *, with_metadata: bool
) -> Entry:
    """Return an entry that is a link, found again by its name in an open directory, or by its path."""
    nowhere = Entry(path, st, Link(text, path, None))
    try:
        fd = open_path(name, os.O_PATH, start=directory)
    except OSError:
        return nowhere
    try:
        end = os.fstat(fd)
        leads_to = _path_of(fd, path)
        if not (end.st_nlink and leads_to.startswith("/")):  # removed, or no file of the tree at all
            return nowhere
        return Entry(path, st, Link(text, leads_to, end), _metadata_of(fd, leads_to) if with_metadata else _NOTHING)
    except OSError:
        return nowhere
    finally:
        os.close(fd)


def _path_of(fd: int, path: str) -> str:
    """Return the path of an open file, which was found by that one."""
    try:
        return os.readlink(f"{_FDS}/{fd}")
    except FileNotFoundError:  # without /proc
        return os.path.realpath(path, strict=True)


def _metadata_of(fd: int, path: str) -> Mapping[str, str]:
    """Return the pairs of a file that is open with O_PATH, which has that path."""
    return pairs.read(f"{_FDS}/{fd}") or (_NOTHING if _HAS_FDS else pairs.read(path, follow=False)) or _NOTHING


def name_of(path: str) -> str:
    """Return the last part of a path; `/` for the root."""
    return os.path.basename(os.path.normpath(path)) or "/"


def kind_of(st_mode: int) -> FileKind:
    """Return what an entry with that mode is."""
    return _KINDS.get(stat.S_IFMT(st_mode), FileKind.OTHER)


def permissions_of(st_mode: int) -> str:
    """Return type and permissions in the letters of Go's FileMode."""
    letters = _TYPE_LETTERS.get(stat.S_IFMT(st_mode), "")
    if st_mode & 0o7000:
        # Go writes device, pipe, socket, setuid, setgid, char device and sticky in this order.
        char = letters == "Dc"
        bits = [letter for bit, letter in _BIT_LETTERS if st_mode & bit]
        sticky = "t" if "t" in bits else ""
        letters = (letters[:1] if char else letters) + "".join(b for b in bits if b != "t") + "c" * char + sticky
    return (letters or "-") + _RWX[st_mode & 0o777]


def etag_of(st: os.stat_result) -> str:
    """Return a token that changes whenever the content may have: inode, size, and both times in nanoseconds.

    The kernel's clock for times ticks every few milliseconds: two writes in place within one tick that leave the size
    as it was cannot be told apart. A replaced file is another inode.
    """
    if not stat.S_ISREG(st.st_mode):
        return ""
    return f"{st.st_ino:x}-{st.st_size:x}-{st.st_mtime_ns:x}-{st.st_ctime_ns:x}"


class ConditionError(EnvdError):
    """A file is not as the client said it has to be."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.FAILED_PRECONDITION, message)


def check_match(path: str, st: os.stat_result, if_match: str | None) -> None:
    """Check a client's condition that a file has not changed; `*` takes any, None is no condition.

    Raises:
        ConditionError: it has.
    """
    if if_match is not None and if_match not in ("*", etag_of(st)):
        raise ConditionError(f"if_match: {path} has another etag by now: {etag_of(st)}")
