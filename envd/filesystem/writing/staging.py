"""Writing files without destroying what was there: see docs/decisions/0008-uploads-never-destroy.md."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

from envd.errors import NO_ROOM, Code, EnvdError, from_os_error
from envd.filesystem.access import Landing, acting_as, acts_as_itself, help_instead, is_readable, was_denied
from envd.host.users import User

from .directories import make_directories_as, make_parents, parent_of, remove_directories, remove_directories_as
from .in_place import number_of
from .pending_writes import (
    AppendedWrite,
    Buffer,
    CopiedWrite,
    DeviceWrite,
    KernelWrite,
    NamedWrite,
    PendingWrite,
    WholeWrite,
)
from .spool import Make, Spool
from .target import Target, WriteOptions, find_place
from .temporary import Temporaries, Temporary

_RACES = 10
# File systems whose files the kernel makes up: a write is a command, not content.
_MADE_UP = frozenset(
    [
        *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "fusectl"),
        *("binfmt_misc", "efivarfs", "pstore", "resctrl", "selinuxfs", "smackfs"),
    ]
)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a write begins with.

    Attributes:
        path: with all links resolved.
        created: nothing is there.
        by_daemon: the daemon's own rights are needed.
    """

    draft: PendingWrite
    path: str
    created: bool
    by_daemon: bool = False


class StagedWrite:
    """A file's next content. Everything here blocks: to be used in threads, one at a time.

    The content is written, then `commit` puts it in place; `abandon`, or leaving the block without a commit, leaves
    everything as it was.

    Attributes:
        path: the file with all links on the way resolved.
        created: nothing was there before.
    """

    def __init__(self, opened: _Opened, intent: WriteOptions, made: tuple[str, ...]) -> None:
        self.path = opened.path
        self.created = opened.created
        self._intent = intent
        self._by_daemon = opened.by_daemon
        self._draft: PendingWrite | None = opened.draft
        self._made = made

    @property
    def fd(self) -> int:
        """What the next bytes may be appended to; stays ours, and may be another one after each `write`."""
        assert self._draft is not None
        return self._draft.fd

    def write(self, data: Buffer) -> None:
        """Add bytes to the content; what there is no room for beside a file goes elsewhere, with all before it.

        Raises:
            OSError: they cannot be written.
        """
        assert self._draft is not None
        self._draft.write(data)

    def commit(self) -> None:
        """Put the content in place.

        Raises:
            EnvdError: it could not be, and everything is as it was. FAILED_PRECONDITION if if_match or if_absent does
                not hold any more, RESOURCE_EXHAUSTED if the disk is full.
        """
        draft = self._take()
        try:
            with self._acting():
                draft.commit()
        except OSError as exc:
            raise from_os_error(exc, doing=f"write {self.path}") from exc
        else:
            self._made = ()
        finally:
            self._end(draft)

    def abandon(self) -> None:
        """Leave everything as it was; nothing to do after a commit."""
        if self._draft is not None:
            self._end(self._take())

    def _take(self) -> PendingWrite:
        if self._draft is None:
            raise ValueError("committed or abandoned already")
        draft, self._draft = self._draft, None
        return draft

    def _end(self, draft: PendingWrite) -> None:
        try:
            with self._acting():
                draft.close()
        finally:
            if self._made:
                remove_directories_as(self._made, self._intent.actor, helped=self._intent.helped)

    def _acting(self) -> contextlib.AbstractContextManager[None]:
        """Act as the user, or as the daemon that helps it out."""
        return contextlib.nullcontext() if self._by_daemon else acting_as(self._intent.actor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.abandon()


def stage(path: str, intent: WriteOptions, temporaries: Temporaries) -> StagedWrite:
    """Begin to write a file; links are followed, one that leads nowhere makes what it names. Blocks.

    Raises:
        EnvdError: it cannot be written, with nothing changed: INVALID_ARGUMENT for a directory, fifo or socket, or if
            `atomic` is asked for and impossible; FAILED_PRECONDITION if if_match or if_absent does not hold.
    """
    return _stage(path, intent, _StagingSource(lambda directory: Temporary(directory, temporaries)))


def stage_at(find: Callable[[], Target], path: str, intent: WriteOptions, temporaries: Temporaries) -> StagedWrite:
    """As `stage`, of a place that is found by other means than its path, which is for messages. Nobody is helped.

    Raises:
        EnvdError: as `stage`.
    """
    return _stage(path, intent, _StagingSource(lambda directory: Temporary(directory, temporaries), find=find))


def stage_gathered(path: str, intent: WriteOptions, make: Make) -> StagedWrite:
    """Begin to put content in place that is here already, in the file that `make` gives. Blocks.

    It is never written to a device, and takes its place at once where nothing is.

    Raises:
        EnvdError: as `stage`; INVALID_ARGUMENT for a device, too.
    """
    return _stage(path, intent, _StagingSource(make, filled=True))


def stage_elsewhere(path: str, intent: WriteOptions, fd: int, why: int) -> StagedWrite:
    """Begin to overwrite a file that no other one can take the place of, with what an open file has. Blocks.

    `fd` stays the caller's; `why` is the errno that making another file failed with.

    Raises:
        EnvdError: as stage_gathered; with `why` if nothing is there.
    """

    def make(_: int) -> Temporary:
        raise OSError(why, os.strerror(why))

    return _stage(path, intent, _StagingSource(make, filled=True, elsewhere=fd))


@dataclass(frozen=True, slots=True)
class _StagingSource:
    """What makes the file a content waits in, and what finds its place.

    Attributes:
        filled: it has the content already.
        find: None: it is found by its path.
        denied_ends: a directory where the user may make no file is a failure: somebody else may.
        elsewhere: what has the content, if it only can be copied.
    """

    make: Make
    filled: bool = False
    elsewhere: int | None = None
    find: Callable[[], Target] | None = None
    denied_ends: bool = False


def _stage(path: str, intent: WriteOptions, source: _StagingSource) -> StagedWrite:
    if path.endswith("/") or os.path.basename(path) in (".", ".."):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {path}")
    try:
        helped = intent.helped and not acts_as_itself(intent.actor)
        try:
            with acting_as(intent.actor):
                return _stage_as_user(path, intent, replace(source, denied_ends=helped))
        except (OSError, EnvdError) as exc:
            if not helped or not was_denied(exc):
                raise
            try:
                return _stage_with_help(path, intent, source, exc)
            except (OSError, EnvdError) as why:
                return _stage_in_place(path, intent, source, why)
    except OSError as exc:
        raise from_os_error(exc, doing=f"write {path}") from exc


def _stage_in_place(path: str, intent: WriteOptions, source: _StagingSource, why: OSError | EnvdError) -> StagedWrite:
    """Begin where nobody can put another file in its place: it may be one that the user can write in place.

    Raises:
        OSError, EnvdError: it is none; `why` nobody could, if that was for want of room.
    """
    try:
        with acting_as(intent.actor):
            return _stage_as_user(path, intent, source)
    except (OSError, EnvdError) as exc:
        if was_denied(exc) and number_of(why) in NO_ROOM:
            raise why from why.__cause__
        raise


def _stage_as_user(path: str, intent: WriteOptions, source: _StagingSource) -> StagedWrite:
    """Begin with the rights this thread has."""
    with ExitStack() as undo:
        made = make_parents(path, intent.owner) if intent.parents else ()
        undo.callback(remove_directories, made)
        opened = _open(path, intent, source)
        undo.pop_all()
        return StagedWrite(opened, intent, made)


def _stage_with_help(path: str, intent: WriteOptions, source: _StagingSource, exc: OSError | EnvdError) -> StagedWrite:
    """Begin where only root has a say: make the first missing directory for the owner, or the file."""
    owner = intent.actor
    if not was_denied(exc) or acts_as_itself(owner):
        raise exc
    made = make_directories_as(parent_of(path), owner, helped=True) if intent.parents else ()
    if not made:
        opened = help_instead(owner, partial(_open_by_daemon, path, intent, source, exc), path, exc, follow=True)
        return StagedWrite(opened, intent, ())
    try:
        with acting_as(owner):
            return StagedWrite(_open(path, intent, source), intent, made)
    except (OSError, EnvdError):
        remove_directories_as(made, owner, helped=True)
        raise


def _open(path: str, intent: WriteOptions, source: _StagingSource) -> _Opened:
    for attempt in range(_RACES):
        with ExitStack() as undo:
            place = source.find() if source.find is not None else find_place(path)
            undo.callback(place.close)
            st, real = place.stat(), place.real
            place.check(st, intent)
            try:
                draft = _draft_at(place, st, intent, source)
            except (FileExistsError, FileNotFoundError):  # made or removed since we looked
                if attempt == _RACES - 1:
                    raise
                continue
            undo.pop_all()
            return _Opened(draft, real, st is None)
    raise AssertionError("unreachable")


def _open_by_daemon(
    path: str, intent: WriteOptions, source: _StagingSource, exc: OSError | EnvdError, landing: Landing
) -> _Opened:
    """Begin with the daemon's rights: something new, or in the place of a file that the user may read.

    What is written in place, or has a name elsewhere, is left alone.
    """
    with ExitStack() as undo:
        place = Target(path, os.dup(landing.directory), landing.name)
        undo.callback(place.close)
        st = place.stat()
        place.check(st, intent)
        if st is None and (intent.append or intent.atomic is False):
            draft = _new(place, intent, source)
        elif intent.append or (st is not None and intent.atomic is False):
            raise exc
        else:
            draft = _whole_by_daemon(place, st, intent, source)
        undo.pop_all()
        return _Opened(draft, place.real, st is None, by_daemon=True)


def _whole_by_daemon(
    place: Target, st: os.stat_result | None, intent: WriteOptions, source: _StagingSource
) -> PendingWrite:
    """Return content that takes its place if what is there, now and in the end, may be replaced for the user."""

    def guard(found: os.stat_result) -> None:
        if not is_replaceable(place, found, intent.actor):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place.path)

    if st is not None:
        guard(st)
    # It is the name that is replaced: the daemon never writes into what is there.
    whole = replace(intent, atomic=True)
    return WholeWrite(place, whole, Spool(place.directory, source.make, movable=False), guard)


def is_replaceable(place: Target, st: os.stat_result, user: User) -> bool:
    """Tell whether the daemon may replace a file for a user: a plain one that the user can read. Blocks."""
    plain = stat.S_ISREG(st.st_mode) and not place.why_in_place(st)
    return plain and is_readable(place.directory, place.name, user)


def _draft_at(place: Target, st: os.stat_result | None, intent: WriteOptions, source: _StagingSource) -> PendingWrite:
    if st is None:
        return _new(place, intent, source)
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        if source.filled:
            raise EnvdError(Code.INVALID_ARGUMENT, f"{place.path} is a device, which takes bytes only as they come")
        _refuse_atomic(intent, f"{place.path} is a device")
        return DeviceWrite(place, intent)
    why = place.why_in_place(st)
    # For a user that is not the daemon's own, to replace a file takes no right to the file, only to its directory.
    if intent.append or why or intent.atomic is False or acts_as_itself(intent.actor):
        place.check_writable()
    if intent.append:
        return AppendedWrite(place, intent)
    if why:
        _refuse_atomic(intent, f"{place.path} {why}")
    spool = Spool(place.directory, source.make, movable=not (intent.atomic or source.filled), filled=source.elsewhere)
    if spool.beside is None and place.file_system() in _MADE_UP:
        spool.close()
        return KernelWrite(place, intent)
    if spool.beside is None:
        _check_alternative(place, spool, source)
    if why or intent.atomic is False:
        return CopiedWrite(place, intent, spool)
    return WholeWrite(place, intent, spool)


def _check_alternative(place: Target, spool: Spool, source: _StagingSource) -> None:
    """Check that what no other file can take the place of can be written itself."""
    try:
        if source.denied_ends and isinstance(spool.why, PermissionError):
            raise spool.why
        place.check_writable()
    except OSError:
        spool.close()
        raise


def _new(place: Target, intent: WriteOptions, source: _StagingSource) -> PendingWrite:
    if intent.append:
        return AppendedWrite(place, intent)
    if intent.atomic is False and not source.filled:
        return NamedWrite(place, intent)
    return WholeWrite(place, intent, Spool(place.directory, source.make, movable=False))


def _refuse_atomic(intent: WriteOptions, why: str) -> None:
    if intent.atomic:
        raise EnvdError(Code.INVALID_ARGUMENT, f"cannot be written at once: {why}; leave atomic out")
