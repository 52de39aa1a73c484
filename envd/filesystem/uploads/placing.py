"""Putting a gathered file in its place. Everything here blocks: for threads."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import closing, suppress

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem import copy_bytes
from envd.filesystem.access import acting_as, acts_as_itself
from envd.filesystem.entries import etag_of
from envd.filesystem.writing.in_place import NO_PLACE, number_of
from envd.filesystem.writing.staging import StagedWrite, stage, stage_elsewhere, stage_gathered
from envd.filesystem.writing.target import WriteOptions, find_place
from envd.filesystem.writing.temporary import Temporaries, Temporary

from .gathering import Gathered, Waiting, is_it, remove
from .state import Committed, Kept, UploadState

_SLICE_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024

Note = Callable[[bool], None]


class Digest:
    """The SHA-256 of a gathered file, reckoned slice by slice: a caller that goes away keeps no thread for long.

    Args:
        size: of the content, which is there.
    """

    def __init__(self, kept: Kept, size: int) -> None:
        self._kept = kept
        self.size = size
        self._digest = hashlib.sha256()
        self._at = 0

    @property
    def complete(self) -> bool:
        """True when nothing is left to read."""
        return self._at == self.size

    def hexdigest(self) -> str:
        """Return it."""
        return self._digest.hexdigest()

    def step(self) -> None:
        """Read the next 64 MiB.

        Raises:
            EnvdError: NOT_FOUND if the file is gone, DATA_LOSS if it is shorter than it was.
        """
        end = min(self._at + _SLICE_BYTES, self.size)
        with closing(Gathered(self._kept)) as gathered:
            while self._at < end:
                try:
                    piece = os.pread(gathered.fd, min(_PIECE_BYTES, end - self._at), self._at)
                except OSError as exc:
                    raise from_os_error(exc, doing=f"read {self._kept.path}") from exc
                if not piece:
                    raise _cut_short(self._kept)
                self._digest.update(piece)
                self._at += len(piece)


def put_in_place(
    state: UploadState, intent: WriteOptions, size: int, note: Note, temporaries: Temporaries
) -> Committed:
    """Make a gathered file the content of its target; `note` is told just before whether nothing is there.

    A hidden name that is not used up stays: to be removed when the outcome is written down.

    Raises:
        EnvdError: as stage() and StagedWrite.commit(); NOT_FOUND if the gathered file is gone.
    """
    with closing(Gathered(state.kept)) as gathered:
        _cut_to(size, gathered.fd, state.kept)
        if not acts_as_itself(intent.actor) and os.fstat(gathered.fd).st_uid != intent.actor.uid:
            return _copy_in(gathered, stage(state.terms.path, intent, temporaries), intent, note)
        if state.kept.elsewhere:
            return _copy_over(gathered, state.terms.path, intent, note, temporaries)
        try:
            return _put(gathered, state.terms.path, intent, note, temporaries)
        except EnvdError as exc:
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EXDEV:
                raise EnvdError(
                    Code.FAILED_PRECONDITION,
                    f"{state.terms.path} is on another file system than when the upload began; abort and begin again",
                ) from exc
            raise


def placed_before(state: UploadState) -> Committed | None:
    """Return what a process did that died before it could write that down; None if it did not come so far."""
    if state.placing is None:
        return None
    try:
        real = os.path.realpath(state.terms.path)
        if not _is_at(real, state.kept):
            return None
        remove(state.kept)  # before its times are looked at: it may be a second name of the same file
        if state.terms.sync:
            _sync_directory(real)
        st = os.stat(real, follow_symlinks=False)
    except OSError:
        return None
    return Committed(real, st.st_size, etag_of(st), state.placing)


def _is_at(real: str, kept: Kept) -> bool:
    fd = os.open(real, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return is_it(kept, fd, os.fstat(fd))
    finally:
        os.close(fd)


def _sync_directory(real: str) -> None:
    with closing(find_place(real)) as place:
        place.sync()


def _cut_to(size: int, fd: int, kept: Kept) -> None:
    """Cut off what a part that was refused left behind the end."""
    there = os.fstat(fd).st_size
    if there < size:
        raise _cut_short(kept)
    if there > size:
        os.ftruncate(fd, size)


def _put(gathered: Gathered, path: str, intent: WriteOptions, note: Note, temporaries: Temporaries) -> Committed:
    waiting: list[Waiting] = []

    def make(directory: int) -> Waiting:
        waiting.append(gathered.waiting(directory, temporaries))
        return waiting[-1]

    with stage_gathered(path, intent, make) as staged:
        note(staged.created)
        staged.commit()
        gathered_st = os.fstat(gathered.fd)
    st = _stat(staged.path, intent) if waiting[-1].named else gathered_st
    return Committed(staged.path, gathered_st.st_size, etag_of(st) if st else "", staged.created)


def _copy_over(gathered: Gathered, path: str, intent: WriteOptions, note: Note, temporaries: Temporaries) -> Committed:
    """Put what was gathered elsewhere in place: by a copy that takes it at once, if there is room by now."""
    try:
        beside = stage_gathered(path, intent, lambda directory: Temporary(directory, temporaries))
        return _copy_in(gathered, beside, intent, note)
    except EnvdError as exc:
        why = number_of(exc)
        if why not in NO_PLACE:
            raise
    with stage_elsewhere(path, intent, gathered.fd, why) as staged:
        note(staged.created)
        staged.commit()
    return _committed(staged, os.fstat(gathered.fd).st_size, intent)


def _copy_in(gathered: Gathered, beside: StagedWrite, intent: WriteOptions, note: Note) -> Committed:
    """Put a copy in place of what could not be moved there."""
    with beside as staged:
        try:
            copy_bytes.copy(gathered.fd, staged.fd)
        except OSError as exc:
            raise from_os_error(exc, doing=f"write {staged.path}") from exc
        note(staged.created)
        size = os.fstat(staged.fd).st_size
        staged.commit()
    return _committed(staged, size, intent)


def _committed(staged: StagedWrite, size: int, intent: WriteOptions) -> Committed:
    st = _stat(staged.path, intent)
    return Committed(staged.path, size, etag_of(st) if st else "", staged.created)


def _stat(path: str, intent: WriteOptions) -> os.stat_result | None:
    """Return what has the name by now; None if nothing has, or the user may not see it."""
    with acting_as(intent.actor), suppress(OSError):
        return os.stat(path, follow_symlinks=False)
    return None


def _cut_short(kept: Kept) -> EnvdError:
    return EnvdError(Code.DATA_LOSS, f"{kept.path} became shorter than what was received; abort and begin again")
