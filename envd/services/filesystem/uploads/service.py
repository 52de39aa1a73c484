"""The part of the Filesystem service that takes files in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from envd.errors import Code, EnvdError
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.threads import Threads
from envd.filesystem.uploads.table import UploadTable
from envd.filesystem.uploads.upload import MultipartUpload
from envd.rpc import Call
from envd.services.filesystem.messages import first_of, path_of
from envd_proto.filesystem import uploads_pb2 as pb

from . import messages

RANGES_AT_ONCE = 500
_PAGE_UPLOADS = 100


class UploadsService:
    """Serves the RPCs of filesystem.Filesystem about uploads."""

    def __init__(self, uploads: UploadTable, callers: Callers, threads: Threads) -> None:
        self._threads = threads
        self._uploads = uploads
        self._callers = callers

    async def create_upload(self, request: pb.CreateUploadRequest, call: Call) -> pb.CreateUploadResponse:
        """Begin an upload."""
        caller = self._callers.of(call.username)
        path = await path_of(request, caller, self._threads)
        upload, existing = await self._uploads.create(messages.terms_from(request, path, caller), caller.user)
        return pb.CreateUploadResponse(upload=messages.info(upload, self._uploads), existing=existing)

    async def write_part(self, requests: AsyncIterator[pb.WritePartRequest], call: Call) -> pb.WritePartResponse:
        """Take a part."""
        start = (await first_of(requests, "start")).start
        upload, _ = self._find(start.upload_id, call)
        async with self._uploads.part(upload, messages.start_from(start)) as part:
            async for request in requests:
                if request.WhichOneof("message") != "chunk":
                    raise EnvdError(Code.INVALID_ARGUMENT, "after the start there can only be chunks")
                await part.put(request.chunk)
            length = await part.finish(self._uploads.config.ranges)
        extents = upload.extents
        return pb.WritePartResponse(length=length, received_bytes=extents.total, contiguous_bytes=extents.contiguous)

    async def get_upload(self, request: pb.GetUploadRequest, call: Call) -> pb.GetUploadResponse:
        """Tell what was received."""
        upload, _ = self._find(request.upload_id, call)
        runs = upload.extents.behind(request.offset, RANGES_AT_ONCE + 1)
        more = len(runs) > RANGES_AT_ONCE
        shown = runs[:RANGES_AT_ONCE]
        return pb.GetUploadResponse(
            upload=messages.info(upload, self._uploads),
            received=[pb.UploadRange(offset=begin, length=end - begin) for begin, end in shown],
            next_offset=shown[-1][1] if more else None,
        )

    async def list_uploads(self, request: pb.ListUploadsRequest, call: Call) -> pb.ListUploadsResponse:
        """List a user's uploads."""
        caller = self._callers.of(call.username)
        size = min(request.page_size or _PAGE_UPLOADS, _PAGE_UPLOADS)
        found = self._uploads.of(caller.user.name, request.page_token, size + 1)
        shown = found[:size]
        return pb.ListUploadsResponse(
            uploads=[messages.info(upload, self._uploads) for upload in shown],
            next_page_token=shown[-1].ident if len(found) > size else "",
        )

    async def commit_upload(self, request: pb.CommitUploadRequest, call: Call) -> pb.CommitUploadResponse:
        """Put an upload in place."""
        upload, caller = self._find(request.upload_id, call)
        size = request.size if request.HasField("size") else None
        done = await self._uploads.commit(upload, caller.user, size, messages.digest_from(request))
        return messages.committed(done)

    async def abort_upload(self, request: pb.AbortUploadRequest, call: Call) -> pb.AbortUploadResponse:
        """End an upload."""
        upload, _ = self._find(request.upload_id, call)
        await self._uploads.abort(upload)
        return pb.AbortUploadResponse()

    def _find(self, ident: str, call: Call) -> tuple[MultipartUpload, Caller]:
        caller = self._callers.of(call.username)
        return self._uploads.find(ident, caller.user.name), caller
