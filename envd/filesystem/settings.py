"""Changing what belongs to an entry beside its content: owner, group, mode, times."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.host.names import group_number, owner_number

from .entries import entry_of

_SECONDS = range(-62_135_596_800, 253_402_300_800)  # what a Timestamp may hold; google/protobuf/timestamp.proto


@dataclass(frozen=True, slots=True)
class Settings:
    """What to change; None leaves it. Owner and group by name or decimal number, times in nanoseconds."""

    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    modified_ns: int | None = None
    accessed_ns: int | None = None
    follow: bool = True


def change(path: str, settings: Settings) -> None:
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
    entry = entry_of(path)
    try:
        st = os.stat(path, follow_symlinks=settings.follow)
        if stat.S_ISLNK(st.st_mode) and settings.mode is not None:
            raise EnvdError(Code.INVALID_ARGUMENT, f"{entry.path} is a link, whose mode cannot be changed")
        _check_allowed(path, st, uid, gid)
        _apply(path, st, settings, uid, gid)
    except OSError as exc:
        raise from_os_error(exc, doing=f"set attributes of {path}") from exc


def _numbered(what: str, text: str | None, number: int | None) -> int:
    if number is None:
        raise EnvdError(Code.INVALID_ARGUMENT, f"there is no {what} '{text}': give a name that exists, or a number")
    return number


def _check_allowed(path: str, st: os.stat_result, uid: int, gid: int) -> None:
    """Refuse beforehand what the kernel would refuse on the way."""
    if not stat.S_ISLNK(st.st_mode) and os.statvfs(path).f_flag & os.ST_RDONLY:
        raise EnvdError(Code.PERMISSION_DENIED, f"set attributes of {path}: read-only file system")
    if os.geteuid() == 0:
        return
    others = st.st_uid != os.geteuid()
    foreign = uid not in (-1, st.st_uid) or gid not in (-1, st.st_gid, os.getegid(), *os.getgroups())
    if others or foreign:
        raise EnvdError(
            Code.PERMISSION_DENIED,
            f"set attributes of {path}: the daemon is not root and can only change what is its own",
        )


def _apply(path: str, st: os.stat_result, settings: Settings, uid: int, gid: int) -> None:
    follow = settings.follow
    with contextlib.ExitStack() as undo:
        if (uid, gid) != (-1, -1):
            os.chown(path, uid, gid, follow_symlinks=follow)
            undo.callback(_restore_owner, path, st, follow=follow)
        if settings.mode is not None:
            os.chmod(path, settings.mode)
            undo.callback(_restore_mode, path, st)
        if settings.modified_ns is not None or settings.accessed_ns is not None:
            accessed = st.st_atime_ns if settings.accessed_ns is None else settings.accessed_ns
            modified = st.st_mtime_ns if settings.modified_ns is None else settings.modified_ns
            try:
                os.utime(path, ns=(accessed, modified), follow_symlinks=follow)
            except OverflowError as exc:
                raise EnvdError(Code.INVALID_ARGUMENT, "a time is out of range") from exc
        undo.pop_all()


def _restore_owner(path: str, st: os.stat_result, *, follow: bool) -> None:
    with contextlib.suppress(OSError):
        os.chown(path, st.st_uid, st.st_gid, follow_symlinks=follow)
    _restore_mode(path, st)  # the change of owner may have cleared set-id bits


def _restore_mode(path: str, st: os.stat_result) -> None:
    if not stat.S_ISLNK(st.st_mode):
        with contextlib.suppress(OSError):
            os.chmod(path, stat.S_IMODE(st.st_mode))
