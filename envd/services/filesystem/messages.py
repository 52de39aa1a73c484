"""Conversions between the contract's messages and the domain's terms."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from envd.errors import Code, EnvdError, readable
from envd.filesystem import metadata
from envd.filesystem.batches import Batch
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.copying import CopyRequest
from envd.filesystem.entries import Entry
from envd.filesystem.listing import Listing
from envd.filesystem.lossy_names import raw_of
from envd.filesystem.page_token import place_from
from envd.filesystem.set_attributes import AttributeChanges
from envd.filesystem.threads import Threads
from envd.filesystem.writing.target import WriteOptions
from envd.rpc import Call
from envd.varint import varint
from envd_proto.filesystem import filesystem_pb2 as pb

from .encoding import EncodedMessage, EntryEncoder, NameLookup

Request = TypeVar("Request", bound=Message)

LISTED_ENTRIES = 1_000_000
LISTED_BYTES = 512 * 1024 * 1024

_OLD_CLIENT = "connect-python"
_FOR_OLD_CLIENTS = ("x-e2b-legacy-sdk", "true")

_MODE_LIMIT = 0o7777
_NANOS = 1_000_000_000
_SHA256_BYTES = 32


class CachedNames(NameLookup, Protocol):
    """Names of owners that are looked up once; see envd.host.names."""

    def refresh(self) -> None: ...

    def at_hand(self, uid: int, gid: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class EntryFormat:
    """The format in which a client takes entries.

    Attributes:
        names: what owners are called.
        brief: as old clients know them.
        in_json: in which encoding, as far as the headers tell.
    """

    names: CachedNames
    brief: bool
    in_json: bool

    def encoder(self) -> EntryEncoder:
        """Return what writes this call's entries. Blocks."""
        self.names.refresh()
        return EntryEncoder(self.names, brief=self.brief)

    def message(self, entry: Entry) -> pb.EntryInfo:
        """Return one entry as a message. Blocks."""
        return pb.EntryInfo.FromString(self.encoder().proto(entry))

    def message_at_hand(self, entry: Entry) -> pb.EntryInfo | None:
        """Return one entry as a message, on the event loop; None if its owner's names take a thread."""
        encoder = self.encoder()
        if not self.names.at_hand(entry.stat.st_uid, entry.stat.st_gid):
            return None
        return pb.EntryInfo.FromString(encoder.proto(entry))


async def path_of(message: Message, caller: Caller, threads: Threads, field: str = "path") -> str:
    """Return the absolute path that a field of a request means, or the one beside it for bytes that are not UTF-8.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none, or shows bytes that are not UTF-8 as U+FFFD.
    """
    raw: bytes = getattr(message, f"raw_{field}")
    if raw:
        return caller.resolve(os.fsdecode(raw))
    return await caller.path(getattr(message, field), threads)


async def first_of(requests: AsyncIterator[Request], kind: str) -> Request:
    """Return the first message of a stream, whose `message` has to be of a kind.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is of another kind, or there is none.
    """
    async for request in requests:
        if request.WhichOneof("message") == kind:
            return request
        break
    raise EnvdError(Code.INVALID_ARGUMENT, f"the first message of the stream must be '{kind}'")


def caller_from(call: Call, callers: Callers) -> tuple[Caller, EntryFormat]:
    """Return who calls, and how they take entries; an old client is told that it is taken for one.

    Raises:
        EnvdError: as Callers.of.
    """
    brief = call.headers.get("user-agent") == _OLD_CLIENT
    if brief:
        call.response.headers.append(_FOR_OLD_CLIENTS)
    caller = callers.of(call.username)
    return caller, EntryFormat(caller.names, brief, "json" in call.headers.get("content-type", ""))


def listing_from(request: pb.ListEntriesRequest, path: str) -> Listing:
    """Return what to list.

    Raises:
        EnvdError: INVALID_ARGUMENT for a token that is none.
    """
    if request.page_token and not request.page_size:
        raise EnvdError(Code.INVALID_ARGUMENT, "page_token needs page_size")
    depth = max(request.depth, 1)
    wanted = Listing(path, depth)
    return replace(
        wanted,
        ordered=request.page_size > 0,
        with_metadata=not request.skip_metadata,
        after=place_from(request.page_token, wanted.shown, depth),
    )


def order_from(request: pb.CopyRequest, caller: Caller) -> CopyRequest:
    """Return how to copy."""
    return CopyRequest(
        owner=None if request.preserve else caller.user,
        times=request.preserve,
        recursive=request.recursive,
        overwrite=request.overwrite,
    )


def listed(entries: Iterator[Entry], encoder: EntryEncoder, *, in_json: bool) -> EncodedMessage:
    """Return a listing as one ListDirResponse. Blocks: it takes the entries from where they are found.

    Raises:
        EnvdError: RESOURCE_EXHAUSTED if it is too much for one message.
    """
    message = _Message(pb.ListDirResponse, in_json=in_json)
    for count, entry in enumerate(entries):
        message.add(entry, encoder)
        if count >= LISTED_ENTRIES or message.size > LISTED_BYTES:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED,
                f"more than {LISTED_ENTRIES} entries or {LISTED_BYTES} bytes in one message: use ListEntries",
            )
    return message.end(b"")


def batch_message(batch: Batch, encoder: EntryEncoder, *, in_json: bool) -> EncodedMessage:
    """Return a portion of a listing as a ListEntriesResponse."""
    rest = pb.ListEntriesResponse(next_page_token=batch.next_page)
    for path, number in batch.unreadable:
        rest.unreadable.add(path=readable(path), raw_path=raw_of(path), errno=number)
    message = _Message(pb.ListEntriesResponse, in_json=in_json)
    for entry in batch.entries:
        message.add(entry, encoder)
    return message.end(_other_fields(rest, in_json=in_json))


class _Message:
    """A response with entries in field 1, as it grows: in one piece of memory that nobody copies in the end."""

    def __init__(self, kind: type[Message], *, in_json: bool) -> None:
        self._kind = kind
        self._in_json = in_json
        self._parts = io.BytesIO()
        if in_json:
            self._parts.write(b'{"entries":[')

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._parts.tell()

    def add(self, entry: Entry, encoder: EntryEncoder) -> None:
        """Add an entry."""
        if self._in_json:
            self._parts.write(encoder.json(entry).encode())
            self._parts.write(b",")
            return
        data = encoder.proto(entry)
        self._parts.write(b"\x0a" + varint(len(data)))
        self._parts.write(data)

    def end(self, rest: bytes) -> EncodedMessage:
        """Return the whole with its other fields."""
        if self._in_json:
            self._end_json(rest)
        else:
            self._parts.write(rest)
        payload, kind, in_json = self._parts.getvalue(), self._kind, self._in_json
        return EncodedMessage(payload, in_json=in_json, again=lambda: converted(payload, kind, in_json=in_json))

    def _end_json(self, rest: bytes) -> None:
        parts = self._parts
        if parts.tell() == len(b'{"entries":['):
            parts.seek(1)  # no entries, no field
            parts.truncate()
            parts.write(rest + b"}")
            return
        parts.seek(-1, io.SEEK_CUR)  # the last comma
        parts.write(b"]" + (b"," + rest if rest else b"") + b"}")


def _other_fields(message: pb.ListEntriesResponse, *, in_json: bool) -> bytes:
    if not in_json:
        return message.SerializeToString()
    fields: dict[str, object] = {}
    if message.unreadable:
        fields["unreadable"] = [_unreadable(one) for one in message.unreadable]
    if message.next_page_token:
        fields["nextPageToken"] = message.next_page_token
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[1:-1].encode()


def _unreadable(one: pb.ListEntriesResponse.Unreadable) -> dict[str, object]:
    fields: dict[str, object] = {"path": one.path, "errno": one.errno}
    if one.HasField("raw_path"):
        fields["rawPath"] = base64.b64encode(one.raw_path).decode()
    return fields


def converted(payload: bytes, kind: type[Message], *, in_json: bool) -> bytes:
    """Return a message in the other encoding; `in_json` is the one it is in."""
    from google.protobuf import json_format  # noqa: PLC0415 - late: hardly ever needed

    if in_json:
        return json_format.Parse(payload, kind()).SerializeToString()
    return json_format.MessageToJson(kind.FromString(payload), indent=None, ensure_ascii=False).encode()


def intent_from(options: pb.WriteRequest.Options, caller: Caller) -> WriteOptions:
    """Return how a Write is to be done.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be done so.
    """
    _check_options(options)
    pairs = dict(options.metadata)
    metadata.check(pairs)
    condition = options.WhichOneof("condition")
    return WriteOptions(
        caller.user,
        mode=options.mode if options.HasField("mode") else None,
        parents=options.parents if options.HasField("parents") else True,
        append=options.append,
        atomic=options.atomic if options.HasField("atomic") else None,
        if_match=options.if_match if condition == "if_match" else None,
        if_absent=options.if_absent,
        metadata=pairs,
        sync=options.sync,
        helped=caller.helped,
    )


def _check_options(options: pb.WriteRequest.Options) -> None:
    if options.HasField("mode") and options.mode > _MODE_LIMIT:
        raise EnvdError(Code.INVALID_ARGUMENT, f"mode must be from 0 to 07777, not 0{options.mode:o}")
    if options.append and options.atomic:
        raise EnvdError(
            Code.INVALID_ARGUMENT, "what is appended is not put in place at once: leave atomic or append out"
        )
    if options.HasField("sha256"):
        if options.append:
            raise EnvdError(Code.INVALID_ARGUMENT, "sha256 is of whole content: leave it or append out")
        if len(options.sha256) != _SHA256_BYTES:
            raise EnvdError(Code.INVALID_ARGUMENT, f"sha256 must have 32 bytes, not {len(options.sha256)}")


def settings_from(request: pb.SetAttributesRequest) -> AttributeChanges:
    """Return what to change.

    Raises:
        EnvdError: INVALID_ARGUMENT if a time is none.
    """
    return AttributeChanges(
        mode=request.mode if request.HasField("mode") else None,
        owner=request.owner if request.HasField("owner") else None,
        group=request.group if request.HasField("group") else None,
        modified_ns=_time_from(request.modified_time) if request.HasField("modified_time") else None,
        accessed_ns=_time_from(request.accessed_time) if request.HasField("accessed_time") else None,
        follow=not request.no_follow,
    )


def _time_from(message: Timestamp) -> int:
    if not 0 <= message.nanos < _NANOS:
        raise EnvdError(Code.INVALID_ARGUMENT, f"nanos must be from 0 to 999999999, not {message.nanos}")
    return message.seconds * _NANOS + message.nanos
