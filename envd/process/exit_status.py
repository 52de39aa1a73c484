"""Conversion of exit records to ends."""

from __future__ import annotations

import os

from envd.keeper.client import ExitRecord

from .events import Cause, Ended, Position

_CORE_DUMPED = 0x80
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127


def ended_from(
    record: ExitRecord,
    *,
    cause: Cause,
    exec_failure: tuple[int, str] | None,
    held_by: tuple[int, ...],
    output: Position,
    started_at: float,
) -> Ended:
    """Return the end of a process.

    A process that never ran ends as a shell reports it: 127 if there was no such command, 126 if it could not be run.
    """
    status = record.status
    number, stage = exec_failure or (0, "")
    exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    if exec_failure is not None:
        cause = Cause.EXEC_FAILED
        exit_code = _NOT_FOUND if is_missing(number) else _NOT_EXECUTABLE
    return Ended(
        exit_code=exit_code,
        signal=0 if exec_failure or not os.WIFSIGNALED(status) else os.WTERMSIG(status),
        core_dumped=bool(os.WIFSIGNALED(status) and status & _CORE_DUMPED),
        cause=cause,
        user_s=record.user_s,
        system_s=record.system_s,
        max_rss_bytes=record.max_rss_kib * 1024,
        exec_errno=number,
        exec_stage=stage,
        held_by=held_by,
        output=output,
        started_at=started_at,
        ended_at=record.reaped_at,
    )


def is_missing(number: int) -> bool:
    """Tell whether an exec error means that there is no such command."""
    return number in (2, 20)  # ENOENT, ENOTDIR
