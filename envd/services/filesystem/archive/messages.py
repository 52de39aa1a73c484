"""Converts the contract's messages and REST parameters about archives to the domain's types and back."""

from __future__ import annotations

import os
from collections.abc import Callable

from envd.errors import Code, EnvdError, readable
from envd.filesystem.archive.extraction import Extracted, ExtractRequest
from envd.filesystem.archive.merging import Conflict
from envd.filesystem.archive.metadata import MOST_ENTRIES
from envd.filesystem.archive.owners import ByNames, by_numbers
from envd.filesystem.archive.stream import ArchiveRequest, ArchiveStream
from envd.filesystem.archive.tarstream.compression import Format
from envd.filesystem.archive.tarstream.member import Member
from envd.filesystem.caller import Caller
from envd.filesystem.lossy_names import raw_of
from envd_proto.filesystem import archive_pb2 as pb


def wish_from(request: pb.ArchiveRequest, path: str, caller: Caller) -> ArchiveRequest:
    """Return what to archive at an absolute path.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be archived so.
    """
    form = _format_from(request.format) or Format.TAR
    members = (*request.members, *map(os.fsdecode, request.raw_members))
    return ArchiveRequest(path, caller.user, members, tuple(request.exclude), form)


def start_of(stream: ArchiveStream) -> pb.ArchiveResponse:
    """Return the first message of an archive."""
    form = pb.ArchiveFormat.Name(stream.form.value)
    start = pb.ArchiveResponse.StartEvent(path=readable(stream.path), raw_path=raw_of(stream.path), format=form)
    return pb.ArchiveResponse(start=start)


def end_of(stream: ArchiveStream) -> pb.ArchiveResponse:
    """Return the last message of an archive."""
    inventory = stream.inventory
    end = pb.ArchiveResponse.EndEvent(
        entries=inventory.entries,
        content_bytes=inventory.content_bytes,
        archive_bytes=stream.sent,
        left_out_count=inventory.left_out_count,
    )
    for entry in inventory.left_out:
        reason = pb.ArchiveResponse.LeftOut.Reason.Name(entry.reason.value)
        end.left_out.add(name=readable(entry.name), raw_name=raw_of(entry.name), reason=reason, errno=entry.errno)
    return pb.ArchiveResponse(end=end)


def order_from(options: pb.ExtractRequest.Options, path: str, caller: Caller) -> ExtractRequest:
    """Return how to extract to an absolute path.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be extracted so.
    """
    return ExtractRequest(
        path,
        caller.user,
        owner_of(options.ownership),
        _format_from(options.format),
        options.set_id,
        options.outside_links,
        _conflict_from(options.conflict),
        min(options.max_entries or MOST_ENTRIES, MOST_ENTRIES),
        options.max_content_bytes or None,
        helped=caller.helped,
    )


def owner_of(number: int) -> Callable[[Member], tuple[int, int]] | None:
    """Return what says to whom entries belong; None: to the caller.

    Raises:
        EnvdError: INVALID_ARGUMENT for a number that means nothing.
    """
    if number == pb.ARCHIVE_OWNERSHIP_CALLER:
        return None
    if number == pb.ARCHIVE_OWNERSHIP_NAMES:
        return ByNames()
    if number == pb.ARCHIVE_OWNERSHIP_NUMBERS:
        return by_numbers
    raise EnvdError(Code.INVALID_ARGUMENT, f"ownership has no value {number}")


def _format_from(number: int) -> Format | None:
    if number == pb.ARCHIVE_FORMAT_UNSPECIFIED:
        return None
    try:
        return Format(number)
    except ValueError as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, f"format has no value {number}") from exc


def _conflict_from(number: int) -> Conflict:
    try:
        return Conflict(number)
    except ValueError as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, f"conflict has no value {number}") from exc


def response_from(extracted: Extracted) -> pb.ExtractResponse:
    """Return what was extracted as a message."""
    return pb.ExtractResponse(
        path=readable(extracted.path),
        raw_path=raw_of(extracted.path),
        created=extracted.created,
        entries=extracted.entries,
        content_bytes=extracted.content_bytes,
        archive_bytes=extracted.archive_bytes,
        skipped=extracted.skipped,
    )
