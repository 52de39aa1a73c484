"""Makes the changes of a Replace. Everything here blocks."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import acting_as, acts_as_itself, open_path
from envd.filesystem.entries import check_match, etag_of
from envd.filesystem.walking import SEARCH, open_down, open_entry
from envd.filesystem.writing.staging import StagedWrite, stage_at
from envd.filesystem.writing.target import Target, WriteOptions, find_place
from envd.filesystem.writing.temporary import Temporaries

from .replace_plan import Edit, ReplacePlan, ReplacePlans
from .requests import ReplaceRequest, Selection
from .summaries import SkipReason
from .text import READ_FILE, regular

_PIECE_BYTES = 1024 * 1024

_WHY_NOT = {
    SkipReason.UNREADABLE: (Code.PERMISSION_DENIED, "it cannot be read"),
    SkipReason.BINARY: (Code.FAILED_PRECONDITION, "it is binary"),
    SkipReason.TOO_LARGE: (Code.FAILED_PRECONDITION, "it is larger than 64 MiB"),
    SkipReason.TOO_SLOW: (Code.RESOURCE_EXHAUSTED, "the expression takes too long on it; make it simpler"),
    SkipReason.CHANGED: (Code.ABORTED, "it changed while it was read; try again"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a Replace for one file.

    Attributes:
        etag: after the change, or of the content that was looked at if there was none.
        error: why there was none; empty if it was not needed or wanted.
    """

    plan: ReplacePlan
    etag: str
    changed: bool = False
    error: str = ""


def check_condition(path: str, if_match: str) -> None:
    """Check that a file is the one a client knows.

    Raises:
        EnvdError: FAILED_PRECONDITION if it is not, INVALID_ARGUMENT if it is no file.
    """
    try:
        fd = open_path(path, os.O_PATH)
    except OSError as exc:
        raise from_os_error(exc, doing=f"replace in {path}") from exc
    st = os.fstat(fd)
    os.close(fd)
    if not etag_of(st):
        raise EnvdError(Code.INVALID_ARGUMENT, f"if_match needs a path that is a file: {path}")
    check_match(path, st, if_match)


def check_plans(plans: ReplacePlans, order: ReplaceRequest, expected: int | None, if_match: str | None) -> None:
    """Check that what was found may be changed.

    Raises:
        EnvdError: FAILED_PRECONDITION if there is not what was expected. For one file that cannot be changed: why.
    """
    path = order.selection.path
    for skip in plans.skips:
        if skip.path == path:
            code, why = _WHY_NOT[skip.reason]
            raise EnvdError(code, f"replace in {path}: {why}")
    if expected is not None and plans.matches != expected:
        raise EnvdError(
            Code.FAILED_PRECONDITION,
            f"replace: {expected} matches expected, {plans.matches} found in {len(plans.files)} files: "
            "nothing was changed",
        )
    for plan in plans.files:
        if if_match not in (None, "*", plan.etag):
            raise EnvdError(Code.FAILED_PRECONDITION, f"if_match: {path} has another etag by now: {plan.etag}")


def apply(plan: ReplacePlan, order: ReplaceRequest, temporaries: Temporaries, *, sync: bool) -> Outcome:
    """Change a file, at once or not at all. It keeps owner, mode and attributes.

    Another user than root needs the right to write to the file; one that belongs to somebody else is written in place.

    Raises:
        EnvdError: it was not changed; FAILED_PRECONDITION if somebody else has changed it meanwhile.
    """
    if not plan.edits:
        return Outcome(plan, plan.etag)
    user = order.selection.user
    find = partial(_place_of, plan, order.selection)
    try:
        with acting_as(user):
            opened = _open(find, writable=not acts_as_itself(user))
    except OSError as exc:
        raise from_os_error(exc, doing=f"replace in {plan.path}") from exc
    if opened is None:
        raise EnvdError(Code.FAILED_PRECONDITION, f"replace in {plan.path}: it is no file any more")
    source, st = opened
    try:
        check_match(plan.path, st, plan.etag)
        owner = dataclasses.replace(user, uid=st.st_uid, gid=st.st_gid)
        foreign = not acts_as_itself(user) and st.st_uid != user.uid
        atomic = False if foreign else None
        intent = WriteOptions(owner, parents=False, atomic=atomic, if_match=plan.etag, sync=sync, user=user)
        with stage_at(find, plan.path, intent, temporaries) as staged:
            _splice(source, staged, plan.edits)
            staged.commit()
        with acting_as(user):
            return Outcome(plan, _etag_now(find), changed=True)
    except OSError as exc:
        raise from_os_error(exc, doing=f"replace in {plan.path}") from exc
    finally:
        os.close(source)


def _place_of(plan: ReplacePlan, selection: Selection) -> Target:
    """Find a file by the way the search went: through no link below the selection's path unless it follows them.

    Raises:
        OSError: it is not there any more.
    """
    shown = os.path.normpath(selection.path)
    if selection.follow_links or plan.path in (selection.path, shown):
        return find_place(plan.path)
    *above, name = plan.path[len(shown.rstrip("/")) + 1 :].split("/")
    root = open_path(selection.path, SEARCH)
    try:
        return Target(plan.path, open_down(root, above, SEARCH), name)
    finally:
        os.close(root)


def _open(find: Callable[[], Target], *, writable: bool) -> tuple[int, os.stat_result] | None:
    with closing(find()) as place:
        opened = regular(open_entry(place.directory, place.name, READ_FILE))
        if opened is not None and writable:
            try:
                os.close(open_entry(place.directory, place.name, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                os.close(opened[0])
                raise
        return opened


def _etag_now(find: Callable[[], Target]) -> str:
    try:
        with closing(find()) as place:
            return etag_of(os.lstat(place.name, dir_fd=place.directory))
    except OSError:
        return ""  # changed all the same, and gone again


def _splice(source: int, target: StagedWrite, edits: Sequence[Edit]) -> None:
    position = 0
    for offset, size, new in edits:
        _copy(source, target, position, offset)
        target.write(new)
        position = offset + size
    _copy(source, target, position, os.fstat(source).st_size)


def _copy(source: int, target: StagedWrite, begin: int, end: int) -> None:
    while begin < end:
        piece = os.pread(source, min(end - begin, _PIECE_BYTES), begin)
        if not piece:
            return  # it became shorter; the condition at the end notices
        target.write(piece)
        begin += len(piece)
