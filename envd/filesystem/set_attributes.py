"""Changes owner, group, mode and times of an entry."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.host.names import group_number, owner_number

from .access import open_path

_SECONDS = range(-62_135_596_800, 253_402_300_800)  # what a Timestamp may hold; google/protobuf/timestamp.proto


@dataclass(frozen=True, slots=True)
class AttributeChanges:
    """Changes to make; None leaves the attribute. Owner and group by name or decimal number, times in nanoseconds."""

    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    modified_ns: int | None = None
    accessed_ns: int | None = None
    follow: bool = True


def change(path: str, settings: AttributeChanges) -> None:
    """Change an entry: all of it, or nothing if a part is refused. Blocks.

    Set-id bits go with a change of owner or group, unless the mode is given too; chown(2).

    Raises:
        EnvdError: INVALID_ARGUMENT for what cannot be, PERMISSION_DENIED for what may not be.
    """
    if settings.mode is not None and not 0 <= settings.mode <= 0o7777:
        raise EnvdError(Code.INVALID_ARGUMENT, f"mode must be from 0 to 07777, not {settings.mode:o}")
    if any(ns is not None and ns // 10**9 not in _SECONDS for ns in (settings.modified_ns, settings.accessed_ns)):
        raise EnvdError(Code.INVALID_ARGUMENT, "a time must be from the year 1 to the year 9999")
    uid = _numbered("owner", settings.owner, owner_number(settings.owner) if settings.owner is not None else -1)
    gid = _numbered("group", settings.group, group_number(settings.group) if settings.group is not None else -1)
    try:
        with _opened(path, follow=settings.follow) as entry:
            if stat.S_ISLNK(entry.state.st_mode) and settings.mode is not None:
                raise EnvdError(Code.INVALID_ARGUMENT, f"{path} is a link, whose mode cannot be changed")
            _check_allowed(path, entry, uid, gid)
            _apply(entry, settings, uid, gid)
    except (FileNotFoundError, NotADirectoryError) as exc:
        reason = os.strerror(exc.errno or 0).lower()
        raise EnvdError(Code.NOT_FOUND, f"file not found: lstat {path}: {reason}") from exc
    except OSError as exc:
        raise from_os_error(exc, doing=f"set attributes of {path}") from exc


@dataclass(frozen=True, slots=True)
class _Entry:
    """The entry to change, by a descriptor: another one may have its name meanwhile.

    Attributes:
        fd: O_PATH.
        handle: its path for calls that take none.
        follow: what those calls are to do with a link there.
        state: as it was.
    """

    fd: int
    handle: str
    follow: bool
    state: os.stat_result


@contextlib.contextmanager
def _opened(path: str, *, follow: bool) -> Iterator[_Entry]:
    fd = open_path(path, os.O_PATH, follow=follow)
    try:
        handle = f"/proc/self/fd/{fd}"
        if os.path.exists("/proc/self/fd"):  # leads to the open entry itself, also if that is a link
            yield _Entry(fd, handle, True, os.fstat(fd))
        else:
            yield _Entry(fd, path, follow, os.fstat(fd))
    finally:
        os.close(fd)


def _numbered(kind: str, text: str | None, number: int | None) -> int:
    if number is None:
        raise EnvdError(Code.INVALID_ARGUMENT, f"there is no {kind} '{text}': give a name that exists, or a number")
    return number


def _check_allowed(path: str, entry: _Entry, uid: int, gid: int) -> None:
    """Refuse beforehand what the kernel would refuse on the way."""
    st = entry.state
    if not stat.S_ISLNK(st.st_mode) and os.fstatvfs(entry.fd).f_flag & os.ST_RDONLY:
        raise EnvdError(Code.PERMISSION_DENIED, f"set attributes of {path}: read-only file system")
    if os.geteuid() == 0:
        return
    foreign_owner = st.st_uid != os.geteuid()
    foreign = uid not in (-1, st.st_uid) or gid not in (-1, st.st_gid, os.getegid(), *os.getgroups())
    if foreign_owner or foreign:
        raise EnvdError(
            Code.PERMISSION_DENIED,
            f"set attributes of {path}: only root, and its owner within the owner's groups, may change it",
        )


def _apply(entry: _Entry, settings: AttributeChanges, uid: int, gid: int) -> None:
    st, handle = entry.state, entry.handle
    with contextlib.ExitStack() as undo:
        if (uid, gid) != (-1, -1):
            os.chown(handle, uid, gid, follow_symlinks=entry.follow)
            undo.callback(_restore_owner, entry)
        if settings.mode is not None:
            os.chmod(handle, settings.mode)
            undo.callback(_restore_mode, entry)
        if settings.modified_ns is not None or settings.accessed_ns is not None:
            accessed = st.st_atime_ns if settings.accessed_ns is None else settings.accessed_ns
            modified = st.st_mtime_ns if settings.modified_ns is None else settings.modified_ns
            try:
                os.utime(handle, ns=(accessed, modified), follow_symlinks=entry.follow)
            except OverflowError as exc:
                raise EnvdError(Code.INVALID_ARGUMENT, "a time is out of range") from exc
        undo.pop_all()


def _restore_owner(entry: _Entry) -> None:
    with contextlib.suppress(OSError):
        os.chown(entry.handle, entry.state.st_uid, entry.state.st_gid, follow_symlinks=entry.follow)
    _restore_mode(entry)  # the change of owner may have cleared set-id bits


def _restore_mode(entry: _Entry) -> None:
    if not stat.S_ISLNK(entry.state.st_mode):
        with contextlib.suppress(OSError):
            os.chmod(entry.handle, stat.S_IMODE(entry.state.st_mode))
