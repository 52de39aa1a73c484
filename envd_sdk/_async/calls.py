"""Calls of one daemon: tried again where that is safe, failing with what callers know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from envd_sdk._wire.address import Metadata
from envd_sdk._wire.aio import AsyncWire, clock, sleep
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.methods import Method, Request, Response
from envd_sdk.connection_config import KEEPALIVE_PING_INTERVAL_SEC
from envd_sdk.leaving import Left
from envd_sdk.retrying import Attempts, Repeat
from envd_sdk.start_spec import limit
from envd_sdk.status import exception_from


class AsyncCalls:
    """Everything the parts of a sandbox need to talk to its daemon."""

    def __init__(
        self, wire: AsyncWire, *, request_timeout_s: float | None, patience_s: float, needed: object = None
    ) -> None:
        """Call through a wire.

        Args:
            needed: something that has to live as long as this is used.
        """
        self.wire = wire
        # Paths of RPCs that the daemon has said it does not know: it is not asked again.
        self.unknown: set[str] = set()
        self.left = Left()
        self._needed = needed
        self._request_timeout_s = request_timeout_s
        self._patience_s = patience_s

    def timeout(self, request_timeout: float | None) -> float | None:
        """Seconds for one request: what the caller says, else what the sandbox was told; None for no limit."""
        return limit(self._request_timeout_s if request_timeout is None else request_timeout, name="request_timeout")

    def metadata(self, user: str | None) -> Metadata:
        return self.wire.address.headers(user)

    def followed(self, user: str | None = None) -> Metadata:
        """Metadata of streams that may be silent for long: their silence is broken, so that proxies keep them open."""
        return (*self.metadata(user), ("keepalive-ping-interval", str(KEEPALIVE_PING_INTERVAL_SEC)))

    def attempts(self, repeat: Repeat = Repeat.SAFE) -> Attempts:
        return Attempts(repeat, self._patience_s, clock)

    async def unary(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        doing: str,
        repeat: Repeat = Repeat.SAFE,
        user: str | None = None,
        request_timeout: float | None = None,
        about_files: bool = False,
    ) -> Response:
        """One message for one message.

        Args:
            doing: for the message of a failure, as in "stat /tmp/a".

        Raises:
            SandboxException: of the kind that fits.
        """
        timeout_s, attempts = self.timeout(request_timeout), self.attempts(repeat)
        while True:
            try:
                return await self.wire.unary(method, request, self.metadata(user), timeout_s)
            except WireError as error:
                await self.pause(attempts, error, doing=doing, about_files=about_files)

    async def upload(
        self,
        method: Method[Request, Response],
        messages: Callable[[], AsyncIterator[Request | bytes]],
        *,
        doing: str,
        repeat: Repeat,
        user: str | None = None,
        request_timeout: float | None = None,
        about_files: bool = False,
    ) -> Response:
        """Many messages for one.

        Args:
            messages: called for every attempt.
            request_timeout: seconds for which nothing may move.
        """
        timeout_s, attempts = self.timeout(request_timeout), self.attempts(repeat)
        while True:
            try:
                return await self.wire.upload(method, messages(), self.metadata(user), timeout_s)
            except WireError as error:
                await self.pause(attempts, error, doing=doing, about_files=about_files)

    async def pause(self, attempts: Attempts, error: WireError, *, doing: str, about_files: bool = False) -> None:
        """Wait for the next attempt.

        Raises:
            SandboxException: there is to be none.
        """
        try:
            delay_s = attempts.delay_after(error)
        except WireError:
            exception = exception_from(error, doing=doing, about_files=about_files)
            exception.repeated = attempts.repeated
            raise exception from error
        await sleep(delay_s)
