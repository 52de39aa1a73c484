# Made by scripts/unasync from envd_sdk/_async/pty.py; change that one.
"""Opens terminals of a sandbox, types into them, and comes back to them without losing output."""

from __future__ import annotations

from envd_proto.pty import pty_pb2
from envd_sdk._concurrency.callbacks import Handler
from envd_sdk._concurrency.feeding import Feeding
from envd_sdk._sync.calls import Calls
from envd_sdk._sync.command_handle import CommandHandle
from envd_sdk._sync.following import Following
from envd_sdk._sync.input import Input
from envd_sdk._wire.methods import TERMINALS
from envd_sdk.exceptions import InvalidArgumentException, NotFoundException
from envd_sdk.messages import by_pid, terminal_from
from envd_sdk.output import Output
from envd_sdk.results import OutputPosition, PtySize, TerminalInfo, Username
from envd_sdk.start_spec import NEWS_S, StartSpec, limit

_ENVS = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


class Pty(Feeding):
    """Terminals of a sandbox. Times are in seconds, as for commands."""

    _input: Input

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._input = Input(calls, "pty")

    def create(
        self,
        size: PtySize,
        on_data: Handler[bytes] | None = None,
        user: Username | None = None,
        cwd: str | None = None,
        envs: dict[str, str] | None = None,
        timeout: float | None = 60,
        request_timeout: float | None = None,
        *,
        cmd: str = "/bin/bash",
        args: tuple[str, ...] = ("-i", "-l"),
        tag: str | None = None,
    ) -> CommandHandle:
        """Open a terminal with a shell in it.

        Args:
            size: before the shell runs.
            on_data: called with its output, bytes as they come.
            timeout: seconds until it is ended; 0 for never.
            cmd: another command than a login shell, with its `args`.
        """
        timeout_s = limit(timeout)
        spec = StartSpec(cmd, args, cwd, {**_ENVS, **(envs or {})}, timeout_s, size=size, tag=tag)
        following = Following(self._calls, Output(begin=OutputPosition()), doing="open a terminal")
        following.start(spec.request(), user, self._calls.timeout(request_timeout))
        following.end_at(timeout_s, least_s=NEWS_S)
        return CommandHandle(following, self._input, on_pty=on_data)

    def connect(
        self,
        pid: int,
        on_data: Handler[bytes] | None = None,
        timeout: float | None = 60,
        request_timeout: float | None = None,
        *,
        resume: OutputPosition | None = None,
    ) -> CommandHandle:
        """Follow a terminal.

        It begins at `resume`, a handle's `position`; without it where a handle of this sandbox for it was disconnected;
        else with what nobody has read yet.
        """
        position = None if resume else self._calls.left.take(pid)
        if position is not None:
            try:
                return self._follow(pid, position, on_data, limit(timeout), request_timeout)
            except (NotFoundException, InvalidArgumentException):
                pass  # another one may have its pid
        return self._follow(pid, resume, on_data, limit(timeout), request_timeout)

    def attach(
        self,
        pid: int,
        scrollback: int | None = None,
        on_data: Handler[bytes] | None = None,
        timeout: float | None = 0,
        request_timeout: float | None = None,
    ) -> CommandHandle:
        """Follow a terminal, beginning with what was on it.

        Args:
            scrollback: bytes before its end to begin with, or as many as are kept; None is all that are kept.

        Raises:
            NotFoundException: there is no terminal by that pid.
        """
        terminal = next(
            (terminal for terminal in self.list(request_timeout, include_finished=True) if terminal.pid == pid),
            None,
        )
        if terminal is None:
            raise NotFoundException(f"attach to {pid}: there is no terminal by that pid")
        begin = terminal.kept_from if scrollback is None else max(terminal.kept_from, terminal.output_end - scrollback)
        return self._follow(pid, OutputPosition(pty=begin), on_data, limit(timeout), request_timeout)

    def list(self, request_timeout: float | None = None, *, include_finished: bool = False) -> list[TerminalInfo]:
        """The terminals that are open."""
        request = pty_pb2.ListRequest(include_finished=include_finished)
        response = self._calls.unary(TERMINALS, request, doing="list terminals", request_timeout=request_timeout)
        return [terminal_from(terminal) for terminal in response.terminals]

    def kill(self, pid: int, request_timeout: float | None = None) -> bool:
        """SIGKILL what runs in a terminal; False if there is none by that pid."""
        return self._input.kill(pid, request_timeout)

    def resize(self, pid: int, size: PtySize, request_timeout: float | None = None) -> None:
        """Change the size of a terminal; what runs in it gets SIGWINCH."""
        self._input.resize(pid, size, request_timeout)

    def send_stdin(self, pid: int, data: bytes | str, request_timeout: float | None = None) -> None:
        """Type into a terminal."""
        self._input.send(pid, data, request_timeout)

    def _follow(
        self,
        pid: int,
        begin: OutputPosition | None,
        on_data: Handler[bytes] | None,
        timeout_s: float | None,
        request_timeout: float | None,
    ) -> CommandHandle:
        following = Following(self._calls, Output(begin=begin), doing=f"connect to terminal {pid}")
        following.connect_from(by_pid(pid), begin, self._calls.timeout(request_timeout))
        following.end_at(timeout_s)
        return CommandHandle(following, self._input, on_pty=on_data)
