"""Writing files without destroying what was there: see docs/decisions/0008-uploads-never-destroy.md."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from envd.errors import Code, EnvdError, from_os_error

from .directories import make_parents, remove_directories
from .drafts import AppendedDraft, Buffer, CopiedDraft, DeviceDraft, Draft, KernelDraft, NamedDraft, WholeDraft
from .place import Intent, Place
from .spool import Make, Spool
from .temporary import Temporaries, Temporary

_RACES = 10
# File systems whose files the kernel makes up: a write is a command, not content.
_MADE_UP = frozenset(
    [
        *("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "fusectl"),
        *("binfmt_misc", "efivarfs", "pstore", "resctrl", "selinuxfs", "smackfs"),
    ]
)


class Staged:
    """A file's next content. Everything here blocks: to be used in threads, one at a time.

    The content is written, then `commit` puts it in place; `abandon`, or leaving the block without a commit, leaves
    everything as it was.

    Attributes:
        path: the file with all links on the way resolved.
        created: nothing was there before.
    """

    def __init__(self, draft: Draft, path: str, made: tuple[str, ...], *, created: bool) -> None:
        self.path = path
        self.created = created
        self._draft: Draft | None = draft
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

    def _take(self) -> Draft:
        if self._draft is None:
            raise ValueError("committed or abandoned already")
        draft, self._draft = self._draft, None
        return draft

    def _end(self, draft: Draft) -> None:
        try:
            draft.close()
        finally:
            remove_directories(self._made)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.abandon()


def stage(path: str, intent: Intent, temporaries: Temporaries) -> Staged:
    """Begin to write a file; links are followed, one that leads nowhere makes what it names. Blocks.

    Raises:
        EnvdError: it cannot be written, with nothing changed: INVALID_ARGUMENT for a directory, fifo or socket, or if
            `atomic` is asked for and impossible; FAILED_PRECONDITION if if_match or if_absent does not hold.
    """
    return _stage(path, intent, _Source(lambda directory: Temporary(directory, temporaries)))


def stage_gathered(path: str, intent: Intent, make: Make) -> Staged:
    """Begin to put content in place that is here already, in the file that `make` gives. Blocks.

    It is never written to a device, and takes its place at once where nothing is.

    Raises:
        EnvdError: as `stage`; INVALID_ARGUMENT for a device, too.
    """
    return _stage(path, intent, _Source(make, filled=True))


@dataclass(frozen=True, slots=True)
class _Source:
    """What makes the file a content waits in, and whether it has the content already."""

    make: Make
    filled: bool = False


def _stage(path: str, intent: Intent, source: _Source) -> Staged:
    if path.endswith("/") or os.path.basename(path) in (".", ".."):
        raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {path}")
    try:
        with ExitStack() as undo:
            made = make_parents(path, intent.owner) if intent.parents else ()
            undo.callback(remove_directories, made)
            real = os.path.realpath(path)
            draft, created = _draft(path, real, intent, source)
            undo.pop_all()
            return Staged(draft, real, made, created=created)
    except OSError as exc:
        raise from_os_error(exc, doing=f"write {path}") from exc


def _draft(path: str, real: str, intent: Intent, source: _Source) -> tuple[Draft, bool]:
    for attempt in range(_RACES):
        with ExitStack() as undo:
            place = Place(path, real)
            undo.callback(place.close)
            st = place.stat()
            place.check(st, intent)
            try:
                draft = _draft_at(place, st, intent, source)
            except (FileExistsError, FileNotFoundError):  # made or removed since we looked
                if attempt == _RACES - 1:
                    raise
                continue
            undo.pop_all()
            return draft, st is None
    raise AssertionError("unreachable")


def _draft_at(place: Place, st: os.stat_result | None, intent: Intent, source: _Source) -> Draft:
    if st is None:
        return _new(place, intent, source)
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        if source.filled:
            raise EnvdError(Code.INVALID_ARGUMENT, f"{place.path} is a device, which takes bytes only as they come")
        _refuse_atomic(intent, f"{place.path} is a device")
        return DeviceDraft(place, intent)
    place.check_writable()
    if intent.append:
        return AppendedDraft(place, intent)
    why = place.why_in_place(st)
    if why:
        _refuse_atomic(intent, f"{place.path} {why}")
    spool = Spool(place.directory, source.make, movable=not (intent.atomic or source.filled))
    if spool.beside is None and place.file_system() in _MADE_UP:
        spool.close()
        return KernelDraft(place, intent)
    if why or intent.atomic is False:
        return CopiedDraft(place, intent, spool)
    return WholeDraft(place, intent, spool)


def _new(place: Place, intent: Intent, source: _Source) -> Draft:
    if intent.append:
        return AppendedDraft(place, intent)
    if intent.atomic is False and not source.filled:
        return NamedDraft(place, intent)
    return WholeDraft(place, intent, Spool(place.directory, source.make, movable=False))


def _refuse_atomic(intent: Intent, why: str) -> None:
    if intent.atomic:
        raise EnvdError(Code.INVALID_ARGUMENT, f"cannot be written at once: {why}; leave atomic out")
