"""From an upload with all its bytes to a file in its place, and what is written down on the way."""

from __future__ import annotations

import dataclasses
import logging

from envd.errors import Code, EnvdError
from envd.filesystem.writing.temporary import Temporaries
from envd.host.users import User

from . import gathering
from .placing import Digest, placed_before, put_in_place
from .state import Committed
from .upload import MultipartUpload

log = logging.getLogger("envd.filesystem")


class Committer:
    """Puts uploads in place, one caller for each at a time."""

    def __init__(self, temporaries: Temporaries, *, helped: bool) -> None:
        self._helped = helped
        self._temporaries = temporaries

    async def outcome(self, upload: MultipartUpload) -> Committed | None:
        """Return how an upload was committed, also if a process died before it could write that down; None if not."""
        if upload.state.committed is not None or upload.state.placing is None:
            return upload.state.committed

        def work() -> Committed | None:
            done = placed_before(upload.state)
            return None if done is None else _settle(upload, done)

        return await upload.threads.settle(work)

    async def commit(self, upload: MultipartUpload, owner: User, size: int | None, sha256: str | None) -> Committed:
        """Put an upload in place that was not yet; as Uploads.commit."""
        whole = upload.whole(size)
        try:
            await upload.close(_overtaken)
            for announced in {sha256, upload.state.terms.sha256} - {None}:
                await self._verify(upload, whole, announced)
            return await upload.threads.settle(self._place, upload, owner, whole, sha256)
        finally:
            upload.reopen()

    async def _verify(self, upload: MultipartUpload, size: int, sha256: str | None) -> None:
        if upload.digest is None or upload.digest.size != size:
            upload.digest = Digest(upload.state.kept, size)
        while not upload.digest.complete:
            await upload.threads.settle(upload.digest.step)
        found = upload.digest.hexdigest()
        if found != sha256:
            raise EnvdError(
                Code.DATA_LOSS,
                f"sha256 of the {size} bytes received is {found}, not as announced; abort and begin again",
            )

    def _place(self, upload: MultipartUpload, owner: User, size: int, verified: str | None) -> Committed:
        """Put it in place and write that down; in a thread, so that nobody who is cancelled comes between the two."""

        def note(created: bool) -> None:  # noqa: FBT001 - what it is told
            upload.write_down(dataclasses.replace(upload.state, placing=created, verified=verified))

        intent = upload.state.terms.intent(owner, helped=self._helped)
        return _settle(upload, put_in_place(upload.state, intent, size, note, self._temporaries))

    def check_again(self, upload: MultipartUpload, size: int | None, sha256: str | None) -> None:
        """Check that a repeated commit means what was committed.

        Raises:
            EnvdError: FAILED_PRECONDITION if it has another size, or nobody can tell; DATA_LOSS for other content.
        """
        state = upload.state
        if state.committed is not None and size not in (None, state.committed.size):
            raise EnvdError(
                Code.FAILED_PRECONDITION, f"upload {upload.ident} was committed with {state.committed.size} bytes"
            )
        known = state.verified or state.terms.sha256
        if sha256 is None or sha256 == known:
            return
        if known is None:
            raise EnvdError(
                Code.FAILED_PRECONDITION,
                f"upload {upload.ident} was committed without a sha256; compare with the file itself",
            )
        raise EnvdError(Code.DATA_LOSS, f"upload {upload.ident} was committed with sha256 {known}, not as announced")

    async def tidy(self, upload: MultipartUpload) -> None:
        """Remove what a committed upload may have left beside its file."""
        await upload.threads.settle(_tidy, upload)


def _settle(upload: MultipartUpload, committed: Committed) -> Committed:
    upload.committed(committed)
    log.info("upload committed", extra={"upload": upload.ident})
    _tidy(upload)
    return committed


def _tidy(upload: MultipartUpload) -> None:
    """Remove the hidden file of what was written in place."""
    try:
        gathering.remove(upload.state.kept)
    except EnvdError as exc:
        log.warning("temporary file left behind", extra={"upload": upload.ident, "reason": exc.message})


def _overtaken() -> EnvdError:
    return EnvdError(Code.ABORTED, "the part was not received: its upload is being committed")
