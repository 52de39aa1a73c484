"""Follows a command's events over as many connections as it takes."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from envd_proto.process import process_pb2 as pb
from envd_sdk._async.calls import AsyncCalls
from envd_sdk._wire.address import Metadata
from envd_sdk._wire.aio import AsyncIncoming, clock
from envd_sdk._wire.failure import WireError, WireTimeoutError
from envd_sdk._wire.methods import CONNECT, START, Method
from envd_sdk.exceptions import CommandTimeoutException, NotYetException
from envd_sdk.messages import by_pid, position_message
from envd_sdk.output import AnotherError, HoleError, Output, Piece
from envd_sdk.results import OutputPosition
from envd_sdk.start_spec import EVENT_BYTES

Answers = AsyncIncoming[pb.StartResponse] | AsyncIncoming[pb.ConnectResponse]


class AsyncFollowing:
    """Follows one command, each byte once, until it ends or the time is up.

    Attributes:
        output: what came so far.
        pid: of the command, once it is followed.
    """

    def __init__(self, calls: AsyncCalls, output: Output, *, doing: str) -> None:
        self.output = output
        self.pid = 0
        self._calls = calls
        self._doing = doing
        self._incoming: Answers | None = None
        self._attempts = calls.attempts()
        self._deadline: float | None = None
        self._least_s = 0.0

    def end_at(self, timeout_s: float | None, *, least_s: float = 0.0) -> None:
        """Give up when that time from now is over and nothing has come for `least_s`."""
        self._deadline = None if timeout_s is None else clock() + timeout_s
        self._least_s = least_s

    async def start(self, request: pb.StartRequest, user: str | None, timeout_s: float | None) -> None:
        """Start the command and follow it from its first byte.

        Raises:
            SandboxException: it could not be started.
        """
        await self._open(START, request, self._calls.followed(user), timeout_s)

    async def connect(self, request: pb.ConnectRequest, timeout_s: float | None) -> None:
        """Follow a command that was started before.

        Raises:
            NotFoundException: it is not known, or not any more.
        """
        await self._open(CONNECT, request, self._calls.followed(), timeout_s)

    async def next(self, timeout_s: float | None = None) -> list[Piece] | None:
        """Return some more output; None when the command has ended and everything it printed has been returned.

        Args:
            timeout_s: for how long to wait this time; the command can be followed on afterwards.

        Raises:
            CommandTimeoutException: the time for the command is up.
            NotYetException: that for this call is.
            SandboxException: the daemon cannot be reached, or no longer knows the command.
        """
        while self.output.ending is None:
            try:
                pieces = await self._more(timeout_s)
            except WireTimeoutError as error:
                await self._late(error)
            except WireError as error:
                await self._take_up(error)
            else:
                if pieces:
                    return pieces
        return None

    def time_is_up(self) -> CommandTimeoutException:
        return CommandTimeoutException(
            f"{self._doing}: the time for it is up; give a larger timeout, or 0 for no limit",
            stdout=self.output.stdout,
            stderr=self.output.stderr,
        )

    async def connect_from(
        self, selector: pb.ProcessSelector, begin: OutputPosition | None, timeout_s: float | None
    ) -> None:
        """Follow a command that was started before, from a position, or from what nobody has read yet.

        Raises:
            NotFoundException: it is not known, or not any more, or another one has its pid.
        """
        request = pb.ConnectRequest(process=selector, event_bytes=EVENT_BYTES, gaps=True)
        if begin is not None:
            request.resume.CopyFrom(position_message(begin))
        await self.connect(request, timeout_s)

    def disconnect(self, position: OutputPosition) -> None:
        """Follow it no further; whoever connects to it again goes on at this place."""
        if self.pid and self.output.ending is None:
            self._calls.left.note(self.pid, position)
        self.leave()

    def leave(self) -> None:
        """Follow it no further; it is not affected."""
        if self._incoming is not None:
            self._incoming.cancel()

    async def _open(
        self, method: Method[Any, Any], request: Message, metadata: Metadata, timeout_s: float | None
    ) -> None:
        try:
            while True:
                try:
                    self._incoming = await self._calls.wire.stream(method, request, metadata)
                    return await self._begun(timeout_s)
                except WireError as error:
                    await self._pause(error)
        except BaseException:
            self.leave()
            raise

    async def _begun(self, timeout_s: float | None) -> None:
        event = await self._event(timeout_s)
        if event.WhichOneof("event") != "start":
            raise WireError("internal", "the stream does not begin with a start")
        try:
            self.output.started(event.start)
        except AnotherError as error:
            raise WireError("not_found", str(error)) from error
        self.pid = event.start.pid
        self._attempts.succeeded()

    async def _late(self, error: WireError) -> None:
        """Raise the exception for a wait in which nothing came: the command's time is up, or only this wait's."""
        if self._deadline is not None and clock() >= self._deadline:
            raise self.time_is_up() from None
        # The stream has ended with the wait. What comes meanwhile is kept; the next call takes it up.
        self.leave()
        self._incoming = None
        raise NotYetException(f"{self._doing}: nothing came in time") from error

    async def _more(self, timeout_s: float | None) -> list[Piece]:
        if self._incoming is None:
            await self._resume()
        event = await self._event(self._patience(timeout_s))
        if event.WhichOneof("event") != "start":
            # A start alone is no progress: who only ever gets that far is to give up some time.
            self._attempts.succeeded()
        try:
            return self.output.pieces(event)
        except HoleError as error:
            raise WireError("unavailable", str(error)) from error
        except AnotherError as error:
            raise WireError("not_found", str(error)) from error

    async def _event(self, timeout_s: float | None) -> pb.ProcessEvent:
        assert self._incoming is not None
        message = await self._incoming.read(timeout_s)
        if message is None:
            raise WireError("unavailable", "the stream was cut off")
        return message.event

    def _patience(self, timeout_s: float | None) -> float | None:
        if self._deadline is None:
            return timeout_s
        left_s = max(self._deadline - clock(), self._least_s, 0.001)
        return left_s if timeout_s is None else min(left_s, timeout_s)

    async def _take_up(self, error: WireError) -> None:
        """Go on where a broken stream ended."""
        await self._pause(error)
        try:
            await self._resume()
        except WireError as failure:
            await self._pause(failure)

    async def _resume(self) -> None:
        request = pb.ConnectRequest(process=by_pid(self.pid), resume=self.output.position, event_bytes=EVENT_BYTES)
        self._incoming = await self._calls.wire.stream(CONNECT, request, self._calls.followed())

    async def _pause(self, error: WireError) -> None:
        self.leave()
        await self._calls.pause(self._attempts, error, doing=self._doing)
