"""Opens terminals of a sandbox, types into them, and comes back to them without losing output."""

from __future__ import annotations

from envd_proto.pty import pty_pb2
from envd_sdk._async.calls import AsyncCalls
from envd_sdk._async.command_handle import AsyncCommandHandle
from envd_sdk._async.following import AsyncFollowing
from envd_sdk._async.input import AsyncInput
from envd_sdk._concurrency.callbacks import AsyncHandler
from envd_sdk._concurrency.feeding import AsyncFeeding
from envd_sdk._wire.methods import TERMINALS
from envd_sdk.exceptions import InvalidArgumentException, NotFoundException
from envd_sdk.messages import by_pid, terminal_from
from envd_sdk.output import Output
from envd_sdk.results import OutputPosition, PtySize, TerminalInfo, Username
from envd_sdk.start_spec import NEWS_S, StartSpec, limit

_ENVS = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


class AsyncPty(AsyncFeeding):
    """Terminals of a sandbox. Times are in seconds, as for commands."""

    _input: AsyncInput

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls
        self._input = AsyncInput(calls, "pty")

    async def create(
        self,
        size: PtySize,
        on_data: AsyncHandler[bytes] | None = None,
        user: Username | None = None,
        cwd: str | None = None,
        envs: dict[str, str] | None = None,
        timeout: float | None = 60,
        request_timeout: float | None = None,
        *,
        cmd: str = "/bin/bash",
        args: tuple[str, ...] = ("-i", "-l"),
        tag: str | None = None,
    ) -> AsyncCommandHandle:
        """Open a terminal with a shell in it.

        Args:
            size: before the shell runs.
            on_data: called with its output, bytes as they come.
            timeout: seconds until it is ended; 0 for never.
            cmd: another command than a login shell, with its `args`.
        """
        timeout_s = limit(timeout)
        spec = StartSpec(cmd, args, cwd, {**_ENVS, **(envs or {})}, timeout_s, size=size, tag=tag)
        following = AsyncFollowing(self._calls, Output(begin=OutputPosition()), doing="open a terminal")
        await following.start(spec.request(), user, self._calls.timeout(request_timeout))
        following.end_at(timeout_s, least_s=NEWS_S)
        return AsyncCommandHandle(following, self._input, on_pty=on_data)

    async def connect(
        self,
        pid: int,
        on_data: AsyncHandler[bytes] | None = None,
        timeout: float | None = 60,
        request_timeout: float | None = None,
        *,
        resume: OutputPosition | None = None,
    ) -> AsyncCommandHandle:
        """Follow a terminal.

        It begins at `resume`, a handle's `position`; without it where a handle of this sandbox for it was disconnected;
        else with what nobody has read yet.
        """
        position = None if resume else self._calls.left.take(pid)
        if position is not None:
            try:
                return await self._follow(pid, position, on_data, limit(timeout), request_timeout)
            except (NotFoundException, InvalidArgumentException):
                pass  # another one may have its pid
        return await self._follow(pid, resume, on_data, limit(timeout), request_timeout)

    async def attach(
        self,
        pid: int,
        scrollback: int | None = None,
        on_data: AsyncHandler[bytes] | None = None,
        timeout: float | None = 0,
        request_timeout: float | None = None,
    ) -> AsyncCommandHandle:
        """Follow a terminal, beginning with what was on it.

        Args:
            scrollback: bytes before its end to begin with, or as many as are kept; None is all that are kept.

        Raises:
            NotFoundException: there is no terminal by that pid.
        """
        terminal = next(
            (terminal for terminal in await self.list(request_timeout, include_finished=True) if terminal.pid == pid),
            None,
        )
        if terminal is None:
            raise NotFoundException(f"attach to {pid}: there is no terminal by that pid")
        begin = terminal.kept_from if scrollback is None else max(terminal.kept_from, terminal.output_end - scrollback)
        return await self._follow(pid, OutputPosition(pty=begin), on_data, limit(timeout), request_timeout)

    async def list(self, request_timeout: float | None = None, *, include_finished: bool = False) -> list[TerminalInfo]:
        """The terminals that are open."""
        request = pty_pb2.ListRequest(include_finished=include_finished)
        response = await self._calls.unary(TERMINALS, request, doing="list terminals", request_timeout=request_timeout)
        return [terminal_from(terminal) for terminal in response.terminals]

    async def kill(self, pid: int, request_timeout: float | None = None) -> bool:
        """SIGKILL what runs in a terminal; False if there is none by that pid."""
        return await self._input.kill(pid, request_timeout)

    async def resize(self, pid: int, size: PtySize, request_timeout: float | None = None) -> None:
        """Change the size of a terminal; what runs in it gets SIGWINCH."""
        await self._input.resize(pid, size, request_timeout)

    async def send_stdin(self, pid: int, data: bytes | str, request_timeout: float | None = None) -> None:
        """Type into a terminal."""
        await self._input.send(pid, data, request_timeout)

    async def _follow(
        self,
        pid: int,
        begin: OutputPosition | None,
        on_data: AsyncHandler[bytes] | None,
        timeout_s: float | None,
        request_timeout: float | None,
    ) -> AsyncCommandHandle:
        following = AsyncFollowing(self._calls, Output(begin=begin), doing=f"connect to terminal {pid}")
        await following.connect_from(by_pid(pid), begin, self._calls.timeout(request_timeout))
        following.end_at(timeout_s)
        return AsyncCommandHandle(following, self._input, on_pty=on_data)
