"""The handle of a running command."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from envd_sdk._async.following import AsyncFollowing
from envd_sdk._async.input import AsyncInput
from envd_sdk._concurrency.callbacks import AsyncHandler, hand_over_async
from envd_sdk._concurrency.reader import UNREAD_PIECES, AsyncReader
from envd_sdk._wire.aio import clock
from envd_sdk.exceptions import CommandExitException, NotYetException, SandboxException
from envd_sdk.output import Piece
from envd_sdk.output_matcher import Deadline, OutputMatcher
from envd_sdk.results import CommandResult, OutputGap, OutputPosition, StreamName
from envd_sdk.start_spec import limit


class AsyncCommandHandle:
    """A command or terminal that was started or connected to.

    Iterating gives `(stdout, stderr, pty)`, one of which is not None: text, text, bytes, in the order it was printed.
    """

    def __init__(
        self,
        following: AsyncFollowing,
        feed: AsyncInput,
        on_stdout: AsyncHandler[str] | None = None,
        on_stderr: AsyncHandler[str] | None = None,
        *,
        on_pty: AsyncHandler[bytes] | None = None,
        retain_output: bool = True,
    ) -> None:
        self._following = following
        self._feed = feed
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr
        self._on_pty = on_pty
        unread_limit = None if retain_output else UNREAD_PIECES
        if not retain_output and (on_stdout or on_stderr or on_pty):
            unread_limit = 0
        self._delivered = following.output.delivered
        self._iterated: OutputPosition | None = None
        self._unmatched = OutputMatcher()
        self._reader: AsyncReader[Piece] = AsyncReader(
            following.next, self._deliver, passed=self._unmatched.add, unread_limit=unread_limit
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._following.pid

    @property
    def stdout(self) -> str:
        """What it has printed to standard output, as far as it has come here."""
        return self._following.output.stdout

    @property
    def stderr(self) -> str:
        """What it has printed to standard error, as far as it has come here."""
        return self._following.output.stderr

    @property
    def gaps(self) -> tuple[OutputGap, ...]:
        """Output that was no longer kept, as far as it is known by now."""
        return tuple(self._following.output.gaps)

    @property
    def position(self) -> OutputPosition:
        """Where to go on, for `resume` of `connect`.

        Behind what was handed to callbacks; without any, behind what an iteration or `wait_for` has had; if there was
        none, behind what `stdout` and `stderr` have.
        """
        if self._iterated is None or self._on_stdout or self._on_stderr or self._on_pty:
            return self._delivered
        return self._iterated

    @property
    def exit_code(self) -> int | None:
        """How it ended; None if that is not known yet."""
        ending = self._following.output.ending
        return None if ending is None else ending.exit_code

    @property
    def error(self) -> str | None:
        """How it ended, for people; None if it ended with 0, or not yet."""
        ending = self._following.output.ending
        return None if ending is None else ending.error

    async def wait(
        self,
        on_pty: AsyncHandler[bytes] | None = None,
        on_stdout: AsyncHandler[str] | None = None,
        on_stderr: AsyncHandler[str] | None = None,
        *,
        timeout: float | None = 0,
    ) -> CommandResult:
        """Wait for its end.

        Args:
            on_pty: called with the bytes of a terminal that are still to come; as are the others.
            timeout: seconds to wait; 0 for no limit.

        Raises:
            NotYetException: it has not ended in time. It runs on, and can be waited for again.
            CommandExitException: it ended with another status than 0.
            CommandTimeoutException: the time it was given is up.
        """
        self._on_pty = on_pty or self._on_pty
        self._on_stdout = on_stdout or self._on_stdout
        self._on_stderr = on_stderr or self._on_stderr
        self._iterated = None
        try:
            await self._reader.drain(limit(timeout))
        except NotYetException:
            text = f"wait for {self.pid}: it has not ended in {timeout} s; it runs on, and can be waited for again"
            raise NotYetException(text) from None
        return self._result()

    async def wait_for(
        self, pattern: str | re.Pattern[str], timeout: float | None = 60, *, stream: StreamName | None = None
    ) -> re.Match[str]:
        """Read its output until an expression is found in it.

        What was read and lies behind the match, or all of it if the time was up, is looked at again by the next call.
        Iterating goes on behind what was read.

        Args:
            pattern: compared with the newest 64 KiB of each stream; of a terminal as UTF-8.
            timeout: seconds to wait; 0 for no limit.
            stream: look only at this one.

        Raises:
            NotYetException: it has not come in time. It can be waited for again.
            CommandExitException: the command has ended, with another status than 0, without it.
            SandboxException: the command has ended without it.
        """
        expression, deadline = re.compile(pattern), Deadline(limit(timeout), clock)
        doing = f"wait for {expression.pattern!r} in the output of {self.pid}"
        try:
            match = self._unmatched.find(expression, stream)
            while match is None and (piece := await self._reader.next(deadline.left_s())) is not None:
                self._iterated = piece.position
                name = self._unmatched.add(piece)
                match = self._unmatched.find(expression, name) if stream in (None, name) else None
                if match is None and deadline.passed():
                    raise NotYetException
        except NotYetException:
            raise NotYetException(f"{doing}: it has not come in {timeout} s") from None
        if match is not None:
            return match
        self._result()
        raise SandboxException(f"{doing}: it has ended without it")

    async def kill(self) -> bool:
        """SIGKILL it and everything it started; False if it is not there any more."""
        return await self._feed.kill(self.pid)

    async def send_stdin(self, data: str | bytes, request_timeout: float | None = None) -> None:
        """Write to its standard input."""
        await self._feed.send(self.pid, data, request_timeout)

    async def close_stdin(self, request_timeout: float | None = None) -> None:
        """Close its standard input: it reads end-of-file once it has read all that was sent."""
        await self._feed.close(self.pid, request_timeout)

    async def disconnect(self) -> None:
        """Follow it no further. It runs on, and can be connected to again."""
        self._following.disconnect(self.position)
        await self._reader.stop()

    def __repr__(self) -> str:
        ending = "running" if self.exit_code is None else f"ended with {self.exit_code}"
        return f"<{type(self).__name__}: {self.pid}, {ending}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    async def __aiter__(self) -> AsyncIterator[tuple[str | None, str | None, bytes | None]]:
        while (piece := await self._reader.next()) is not None:
            self._iterated = piece.position
            self._unmatched.clear()
            yield piece.stdout, piece.stderr, piece.pty

    async def _deliver(self, piece: Piece) -> None:
        if piece.stdout is not None:
            await hand_over_async(self._on_stdout, piece.stdout)
        elif piece.stderr is not None:
            await hand_over_async(self._on_stderr, piece.stderr)
        elif piece.pty is not None:
            await hand_over_async(self._on_pty, piece.pty)
        self._delivered = piece.position

    def _result(self) -> CommandResult:
        ending = self._following.output.ending
        if ending is None:
            raise SandboxException(f"wait for {self.pid}: this handle was disconnected before the command ended")
        if ending.timed_out:
            raise self._following.time_is_up()
        result = self._following.output.result()
        if result.exit_code != 0:
            raise CommandExitException(result)
        return result
