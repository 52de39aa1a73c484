"""Conversions between the contract's messages and what is known of uploads."""

from __future__ import annotations

import time

from envd.errors import Code, EnvdError, readable
from envd.filesystem.caller import Caller
from envd.filesystem.lossy_names import raw_of
from envd.filesystem.uploads.part import Start
from envd.filesystem.uploads.state import Committed, UploadOptions, checked
from envd.filesystem.uploads.table import UploadTable
from envd.filesystem.uploads.upload import MultipartUpload
from envd_proto.filesystem import uploads_pb2 as pb

_SHA256_BYTES = 32


def terms_from(request: pb.CreateUploadRequest, path: str, caller: Caller) -> UploadOptions:
    """Return what a client asks for.

    Raises:
        EnvdError: INVALID_ARGUMENT if it cannot be.
    """
    return checked(
        UploadOptions(
            caller.user.name,
            path,
            size=request.size if request.HasField("size") else None,
            sha256=_digest(request.sha256) if request.HasField("sha256") else None,
            key=request.idempotency_key,
            mode=request.mode if request.HasField("mode") else None,
            parents=request.parents if request.HasField("parents") else True,
            atomic=request.atomic if request.HasField("atomic") else None,
            if_match=request.if_match if request.WhichOneof("condition") == "if_match" else None,
            if_absent=request.if_absent,
            metadata=dict(request.metadata),
            sync=request.sync,
        )
    )


def start_from(message: pb.WritePartRequest.Start) -> Start:
    """Return what is announced of a part.

    Raises:
        EnvdError: INVALID_ARGUMENT if a checksum is none.
    """
    return Start(
        message.offset,
        length=message.length if message.HasField("length") else None,
        sha256=_digest(message.sha256) if message.HasField("sha256") else None,
        crc32=message.crc32 if message.HasField("crc32") else None,
    )


def digest_from(request: pb.CommitUploadRequest) -> str | None:
    """Return the SHA-256 a commit names, in hexadecimal.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none.
    """
    return _digest(request.sha256) if request.HasField("sha256") else None


def _digest(sha256: bytes) -> str:
    if len(sha256) != _SHA256_BYTES:
        raise EnvdError(Code.INVALID_ARGUMENT, f"sha256 must have 32 bytes, not {len(sha256)}")
    return sha256.hex()


def info(upload: MultipartUpload, uploads: UploadTable) -> pb.UploadInfo:
    """Return an upload as it is now."""
    state, extents = upload.state, upload.extents
    message = pb.UploadInfo(
        id=upload.ident,
        state=pb.UploadInfo.STATE_OPEN if state.committed is None else pb.UploadInfo.STATE_COMMITTED,
        path=readable(state.terms.path),
        raw_path=raw_of(state.terms.path),
        size=state.terms.size,
        received_bytes=extents.total,
        contiguous_bytes=extents.contiguous,
        parts_under_way=len(upload.parts),
    )
    message.expire_time.FromMilliseconds(round((time.time() + uploads.expires_in(upload)) * 1000))
    return message


def committed(done: Committed) -> pb.CommitUploadResponse:
    """Return the answer to a commit."""
    return pb.CommitUploadResponse(
        path=readable(done.path), raw_path=raw_of(done.path), size=done.size, etag=done.etag, created=done.created
    )
