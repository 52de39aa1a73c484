# Made by scripts/unasync from envd_sdk/_async/trees.py; change that one.
"""Methods that upload and download whole directories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from envd_proto.filesystem import archive_pb2 as pb
from envd_sdk._concurrency.callbacks import Handler, hand_over
from envd_sdk._concurrency.content import each
from envd_sdk._concurrency.running import outside
from envd_sdk._sync.calls import Calls
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.methods import ARCHIVE, EXTRACT
from envd_sdk.extracting import untar
from envd_sdk.paths import SandboxPath, path_fields, shown
from envd_sdk.results import Username
from envd_sdk.retrying import Repeat
from envd_sdk.trees import TreeInfo, tar_of


class Trees:
    """The part of a sandbox's files that moves directories."""

    _calls: Calls

    def upload_dir(
        self,
        local: str,
        path: SandboxPath,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        exclude: Sequence[str] = (),
        outside_links: bool = False,
        on_progress: Handler[int] | None = None,
    ) -> TreeInfo:
        """Send what is in a directory of this machine into one of the sandbox, which is merged with what is there.

        Args:
            local: the directory here.
            path: the directory there; one that is not there appears with all its content at once.
            exclude: globs of what is not sent: names at any depth or, with a slash, paths.
            outside_links: send symbolic links as they are, also those that lead out of the directory; else one of
                those is refused, and nothing is changed.
            on_progress: called with the bytes that were sent.

        Raises:
            InvalidArgumentException: it is no directory, or has a link that leads out of it.
        """
        options = pb.ExtractRequest.Options(
            **path_fields(path), format=pb.ARCHIVE_FORMAT_TAR, outside_links=outside_links
        )

        def messages() -> Iterator[pb.ExtractRequest]:
            yield pb.ExtractRequest(options=options)
            sent = 0
            for piece in each(tar_of(local, exclude)):
                yield pb.ExtractRequest(chunk=piece)
                sent += len(piece)
                hand_over(on_progress, sent)

        response = self._calls.upload(
            EXTRACT,
            messages,
            doing=f"send {local} to {shown(path)}",
            # The same again replaces what is there by the same.
            repeat=Repeat.SAFE,
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return TreeInfo(response.path, response.entries, response.content_bytes)

    def download_dir(
        self,
        path: SandboxPath,
        local: str,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        exclude: Sequence[str] = (),
        on_progress: Handler[int] | None = None,
    ) -> TreeInfo:
        """Receive what is in a directory of the sandbox into one of this machine, which is merged with what is there.

        Nothing is changed here before all of it has come and was looked at; until then it lies in a temporary file.
        Files take their places whole, one by one. Set-id and sticky bits, and the right to write for others than the
        owner, are dropped. A link here in the place of a file is replaced, never followed.

        Args:
            path: the directory there.
            local: the directory here; made if it is not there.
            exclude: globs of what is not sent: names at any depth or, with a slash, paths.
            on_progress: called with the bytes that have come.

        Raises:
            FileNotFoundException: it is not there.
            SandboxException: it has a link that leads out of it.
            ConflictException: a file would replace a directory here, or a directory something else.
        """
        request = pb.ArchiveRequest(**path_fields(path), exclude=exclude)
        with tempfile.TemporaryFile() as archive:
            end = self._received(request, archive, user, request_timeout, on_progress)
            outside(lambda: untar(archive, local))
        left_out = tuple(entry.name for entry in end.left_out)
        return TreeInfo(local, end.entries, end.content_bytes, left_out)

    def _received(
        self,
        request: pb.ArchiveRequest,
        archive: IO[bytes],
        user: str | None,
        request_timeout: float | None,
        on_progress: Handler[int] | None,
    ) -> pb.ArchiveResponse.EndEvent:
        """An archive in a file, from its beginning; one that was cut off begins again."""
        timeout_s, attempts = self._calls.timeout(request_timeout), self._calls.attempts()
        while True:
            try:
                end = self._received_once(request, archive, user, timeout_s, on_progress)
            except WireError as error:
                self._calls.pause(attempts, error, doing=f"receive {request.path}", about_files=True)
            else:
                archive.seek(0)
                return end

    def _received_once(
        self,
        request: pb.ArchiveRequest,
        archive: IO[bytes],
        user: str | None,
        timeout_s: float | None,
        on_progress: Handler[int] | None,
    ) -> pb.ArchiveResponse.EndEvent:
        archive.seek(0)
        archive.truncate()
        incoming = self._calls.wire.stream(ARCHIVE, request, self._calls.metadata(user))
        try:
            while (message := incoming.read(timeout_s)) is not None:
                if message.HasField("end"):
                    return message.end
                data = message.chunk.data
                if data:
                    outside(lambda piece=data: archive.write(piece))  # type: ignore[misc]
                    hand_over(on_progress, message.chunk.offset + len(data))
        finally:
            incoming.cancel()
        raise WireError("unavailable", "the stream was cut off")
