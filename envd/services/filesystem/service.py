"""The Filesystem service: the contract's messages to the domain's terms and back."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, closing
from functools import partial

from envd.chunk_encoder import ChunkEncoder, EncodedChunks
from envd.errors import Code, EnvdError
from envd.filesystem import changes, copying, listing, reading, removal, set_attributes
from envd.filesystem.access import acting_as, as_user
from envd.filesystem.at_hand import AtHand
from envd.filesystem.batches import batches
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.entries import entry_of
from envd.filesystem.threads import OwnedResource, Threads
from envd.filesystem.writing.buffered_writer import BufferedWriter, put_whole
from envd.filesystem.writing.staging import StagedWrite, stage
from envd.filesystem.writing.temporary import Temporaries
from envd.rpc import Call, Encoded, Reply
from envd_proto.filesystem import filesystem_pb2 as pb

from . import messages
from .messages import EntryFormat, caller_from, first_of, path_of

_CHUNK_BYTES = 256 * 1024
_LARGEST_CHUNK_BYTES = 1024 * 1024
_CHUNKS_AT_ONCE = 64
_CONTENT = ChunkEncoder(pb.ReadResponse.DESCRIPTOR, "chunk", "data")


class FilesystemService:
    """Serves what filesystem.Filesystem does with single entries, and lists directories.

    Args:
        callers: find who makes a call.
        temporaries: know of what has a hidden name while it is made.
    """

    def __init__(self, callers: Callers, threads: Threads, temporaries: Temporaries) -> None:
        self._callers = callers
        self._threads = threads
        self._temporaries = temporaries
        self._at_hand = AtHand(threads)

    async def stat(self, request: pb.StatRequest, call: Call) -> pb.StatResponse:
        """Describe an entry."""
        caller, entry_format = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)
        look = self._at_hand.look(path, caller.user)
        message = None if look is None else entry_format.message_at_hand(look)
        return pb.StatResponse(entry=message or await self._entry(caller, entry_format, path))

    async def make_dir(self, request: pb.MakeDirRequest, call: Call) -> pb.MakeDirResponse:
        """Make a directory and those above it."""
        caller, entry_format = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)
        work = partial(changes.make_directory, path, caller.user, helped=caller.helped)
        return pb.MakeDirResponse(entry=await self._entry(caller, entry_format, path, work))

    async def move(self, request: pb.MoveRequest, call: Call) -> pb.MoveResponse:
        """Give an entry another path."""
        caller, entry_format = caller_from(call, self._callers)
        destination = await path_of(request, caller, self._threads, "destination")
        source = await path_of(request, caller, self._threads, "source")
        work = partial(changes.move, source, destination, caller.user, self._temporaries, helped=caller.helped)
        return pb.MoveResponse(entry=await self._entry(caller, entry_format, destination, work, source))

    async def list_dir(self, request: pb.ListDirRequest, call: Call) -> Encoded:
        """List a directory in one message."""
        caller, entry_format = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)

        def work() -> Encoded:
            wanted = listing.Listing(path, max(request.depth, 1))
            with closing(listing.walk(wanted)) as entries:
                return messages.listed(entries, entry_format.encoder(), in_json=entry_format.in_json)

        return await self._threads.at(path).run(as_user(caller.user, work))

    async def remove(self, request: pb.RemoveRequest, call: Call) -> pb.RemoveResponse:
        """Remove an entry and what is below it."""
        caller, _ = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)
        await self._threads.at(path).run(partial(removal.remove, path, caller.user, helped=caller.helped))
        return pb.RemoveResponse()

    async def read(self, request: pb.ReadRequest, call: Call) -> AsyncIterator[Reply]:
        """Send a file's content."""
        caller, entry_format = caller_from(call, self._callers)
        limit = request.length if request.HasField("length") else None
        if_match = request.if_match if request.HasField("if_match") else None
        path = await path_of(request, caller, self._threads)
        opening = as_user(caller.user, partial(reading.open_file, path, request.offset, limit, if_match))
        async with self._threads.at(path).holding(opening, reading.FileReader.close) as held:
            start = pb.ReadResponse.StartEvent(length=held.it.length)
            start.entry.CopyFrom(await held.run(lambda: entry_format.message(held.it.entry)))
            yield pb.ReadResponse(start=start)
            done = 0
            async with aclosing(_content(held, request.chunk_size, caller)) as content:
                async for run in content:
                    yield run
                    done = run.position - request.offset
            yield pb.ReadResponse(end=pb.ReadResponse.EndEvent(length=done))

    async def write(self, requests: AsyncIterator[pb.WriteRequest], call: Call) -> pb.WriteResponse:
        """Take a file's content."""
        caller, entry_format = caller_from(call, self._callers)
        options = (await first_of(requests, "options")).options
        intent = messages.intent_from(options, caller)
        path = await path_of(options, caller, self._threads)
        expected = options.sha256 if options.HasField("sha256") else None
        async with self._threads.at(path).holding(
            partial(stage, path, intent, self._temporaries), StagedWrite.abandon
        ) as staged:
            upload = BufferedWriter(staged, digested=options.return_sha256 or expected is not None)
            async for request in requests:
                if request.WhichOneof("message") != "chunk":
                    raise EnvdError(Code.INVALID_ARGUMENT, "after the options there can only be chunks")
                await upload.put(request.chunk)
            entry = await upload.finish(expected, as_user(caller.user, lambda: entry_format.message(entry_of(path))))
        return pb.WriteResponse(
            entry=entry,
            written=upload.written,
            created=staged.it.created,
            sha256=upload.digest if options.return_sha256 else None,
        )

    async def write_file(self, request: pb.WriteFileRequest, call: Call) -> pb.WriteResponse:
        """Write a file that has come whole."""
        caller, entry_format = caller_from(call, self._callers)
        options, content = request.options, request.content
        intent = messages.intent_from(options, caller)
        path = await path_of(options, caller, self._threads)
        expected = options.sha256 if options.HasField("sha256") else None

        def work() -> pb.WriteResponse:
            with stage(path, intent, self._temporaries) as staged:
                digest = put_whole(staged, content, expected, digested=options.return_sha256)
                found = pb.WriteResponse(written=len(content), created=staged.created)
            with acting_as(caller.user):
                found.entry.CopyFrom(entry_format.message(entry_of(path)))
            if options.return_sha256 and digest is not None:
                found.sha256 = digest
            return found

        return await self._threads.at(path).run(work)

    async def list_entries(self, request: pb.ListEntriesRequest, call: Call) -> AsyncIterator[Reply]:
        """List a directory in a stream of messages."""
        caller, entry_format = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)
        threads = self._threads.at(path)
        wanted = messages.listing_from(request, path)
        encoder = await self._threads.run(entry_format.encoder)
        found = batches(wanted, request.batch_size, request.page_size)

        def step() -> Encoded | None:
            batch = next(found, None)
            return None if batch is None else messages.batch_message(batch, encoder, in_json=entry_format.in_json)

        acting = as_user(caller.user, step)
        async with threads.holding(lambda: found, Generator.close) as held:
            while (reply := await held.run(acting)) is not None:
                yield reply

    async def copy(self, request: pb.CopyRequest, call: Call) -> pb.CopyResponse:
        """Copy an entry."""
        caller, entry_format = caller_from(call, self._callers)
        order = messages.order_from(request, caller)
        destination = await path_of(request, caller, self._threads, "destination")
        source = await path_of(request, caller, self._threads, "source")
        work = partial(copying.copy, source, destination, caller.user, order, self._temporaries)
        copied = await self._threads.at(source, destination).run(as_user(caller.user, work))
        entry = await self._entry(caller, entry_format, destination)
        return pb.CopyResponse(entry=entry, entries=copied.entries, bytes=copied.size)

    async def set_attributes(self, request: pb.SetAttributesRequest, call: Call) -> pb.SetAttributesResponse:
        """Change what belongs to an entry beside its content."""
        caller, entry_format = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)
        work = as_user(caller.user, partial(set_attributes.change, path, messages.settings_from(request)))
        return pb.SetAttributesResponse(entry=await self._entry(caller, entry_format, path, work))

    async def make_symlink(self, request: pb.MakeSymlinkRequest, call: Call) -> pb.MakeSymlinkResponse:
        """Make a symbolic link."""
        caller, entry_format = caller_from(call, self._callers)
        path = await path_of(request, caller, self._threads)
        link = partial(
            changes.make_symlink,
            path,
            os.fsdecode(request.raw_target) or request.target,
            caller.user,
            self._temporaries,
        )
        work = as_user(caller.user, partial(link, overwrite=request.overwrite))
        return pb.MakeSymlinkResponse(entry=await self._entry(caller, entry_format, path, work))

    async def _entry(
        self,
        caller: Caller,
        entry_format: EntryFormat,
        path: str,
        work: Callable[[], None] | None = None,
        *others: str,
    ) -> pb.EntryInfo:
        """Do what is to be done, also at other paths, then describe what is at a path."""

        def both() -> pb.EntryInfo:
            if work is not None:
                work()
            with acting_as(caller.user):
                return entry_format.message(entry_of(path))

        return await self._threads.at(path, *others).run(both)


async def _content(
    held: OwnedResource[reading.FileReader], chunk_bytes: int, caller: Caller
) -> AsyncGenerator[EncodedChunks[int], None]:
    """Yield a file's content; the next run is read while the last one is sent.

    Each is the user's doing: files of the kernel's judge who reads, and not who has opened.
    """
    chunk = min(chunk_bytes or _CHUNK_BYTES, _LARGEST_CHUNK_BYTES)
    run = min(chunk * _CHUNKS_AT_ONCE, _LARGEST_CHUNK_BYTES)
    reader = held.it
    offset, done = reader.begin, 0
    reading_on = held.begin(as_user(caller.user, partial(reader.read, done, run)))
    while data := await reading_on:
        done += len(data)
        reading_on = held.begin(as_user(caller.user, partial(reader.read, done, run)))
        yield EncodedChunks(_CONTENT, offset, data, chunk, offset + len(data))
        offset += len(data)
