# Made by scripts/unasync from envd_sdk/_async/parts.py; change that one.
"""A large file on its way in parts: what was acknowledged is never sent again, whatever breaks."""

from __future__ import annotations

import os.path
import uuid
from collections.abc import Iterator
from contextlib import suppress

from envd_proto.filesystem import uploads_pb2 as pb
from envd_sdk._concurrency.callbacks import Handler, hand_over
from envd_sdk._concurrency.content import Pieces
from envd_sdk._sync.calls import Calls
from envd_sdk._wire.blocking import clock
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.methods import ABORT_UPLOAD, COMMIT_UPLOAD, CREATE_UPLOAD, WRITE_PART
from envd_sdk.entries import FileType, WriteInfo
from envd_sdk.exceptions import NotEnoughSpaceException, SandboxException
from envd_sdk.retrying import Repeat
from envd_sdk.uploads import LEAST_PART_BYTES, Destination, chunk_message, next_part_bytes

# Seconds to tell the daemon that an upload is given up. It finds out itself after a day.
_FAREWELL_S = 2.0
# Uploads in parts are not known, not for such a target, or too many: a single call may do, or says what is wrong.
_OTHERWISE = ("unimplemented", "invalid_argument", "resource_exhausted")


class PartedUpload:
    """Sends one file, one part after the other."""

    def __init__(self, calls: Calls, destination: Destination, on_progress: Handler[int] | None) -> None:
        self._calls = calls
        self._destination = destination
        self._on_progress = on_progress
        self._index = 0
        self._offset = 0

    def send(self, pieces: Pieces) -> WriteInfo | None:
        """Send it and put it in place; None if it cannot be sent so, and nothing was done.

        Raises:
            SandboxException: it could not be written; the file is as it was.
        """
        upload = self._begin()
        if upload is None:
            return None
        try:
            self._send_all(upload, pieces)
            self._commit(upload)
        except NotEnoughSpaceException as error:
            self._give_up(upload)
            # The daemon speaks of parts that it keeps, and they are gone by now.
            exception = NotEnoughSpaceException(
                f"{self._destination.doing}: not enough disk space; nothing was changed"
            )
            exception.code = error.code
            raise exception from error
        except BaseException:
            self._give_up(upload)
            raise
        metadata = dict(self._destination.options.metadata or {})
        raw = upload.raw_path if upload.HasField("raw_path") else None
        name = os.path.basename(upload.path)
        return WriteInfo(name, FileType.FILE, upload.path, metadata=metadata, raw_path=raw)

    def _begin(self) -> pb.UploadInfo | None:
        request = self._destination.creation(uuid.uuid4().hex)
        try:
            response = self._calls.unary(
                CREATE_UPLOAD,
                request,
                doing=self._destination.doing,
                user=self._destination.user,
                request_timeout=self._destination.request_timeout,
                about_files=True,
            )
        except SandboxException as error:
            if error.code not in _OTHERWISE:
                raise
            return None
        return response.upload

    def _send_all(self, upload: pb.UploadInfo, pieces: Pieces) -> None:
        most = LEAST_PART_BYTES
        while pieces.at(self._index) is not None:
            began = clock()
            self._send_part(upload, pieces, most)
            most = next_part_bytes(most, clock() - began)

    def _send_part(self, upload: pb.UploadInfo, pieces: Pieces, most: int) -> None:
        def messages() -> Iterator[pb.WritePartRequest | bytes]:
            index, sent = self._index, 0
            yield pb.WritePartRequest(start=pb.WritePartRequest.Start(upload_id=upload.id, offset=self._offset))
            while sent < most and (piece := pieces.at(index)) is not None:
                yield chunk_message(piece)
                index, sent = index + 1, sent + len(piece)
                hand_over(self._on_progress, self._offset + sent)

        response = self._calls.upload(
            WRITE_PART,
            messages,
            doing=self._destination.doing,
            repeat=Repeat.SAFE,
            user=self._destination.user,
            request_timeout=self._destination.request_timeout,
        )
        self._offset += response.length
        self._index = pieces.forget_bytes(response.length)

    def _commit(self, upload: pb.UploadInfo) -> None:
        self._calls.unary(
            COMMIT_UPLOAD,
            pb.CommitUploadRequest(upload_id=upload.id, size=self._offset),
            doing=self._destination.doing,
            user=self._destination.user,
            request_timeout=self._destination.request_timeout,
            about_files=True,
        )

    def _give_up(self, upload: pb.UploadInfo) -> None:
        """Have what was received removed, if that can still be said."""
        request = pb.AbortUploadRequest(upload_id=upload.id)
        with suppress(WireError):
            self._calls.wire.unary(ABORT_UPLOAD, request, self._calls.metadata(self._destination.user), _FAREWELL_S)
