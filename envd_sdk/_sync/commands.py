# Made by scripts/unasync from envd_sdk/_async/commands.py; change that one.
"""Runs, follows, feeds and ends commands of a sandbox."""

from __future__ import annotations

from typing import Literal, overload

from envd_proto.process import process_pb2 as pb
from envd_sdk._concurrency.callbacks import Handler
from envd_sdk._concurrency.feeding import Feeding
from envd_sdk._sync.calls import Calls
from envd_sdk._sync.command_handle import CommandHandle
from envd_sdk._sync.following import Following
from envd_sdk._sync.input import Input
from envd_sdk._wire.methods import LIST
from envd_sdk.exceptions import InvalidArgumentException, NotFoundException
from envd_sdk.messages import process_from, selector
from envd_sdk.output import Output
from envd_sdk.results import CommandResult, OutputPosition, ProcessInfo, Username
from envd_sdk.start_spec import NEWS_S, StartSpec, limit, shell


class Commands(Feeding):
    """Commands of a sandbox.

    Times are in seconds. `timeout` is for the command: when it is up, the daemon ends it with everything it started,
    and CommandTimeoutException has what it had printed. `request_timeout` is for an answer of the daemon's. 0 means no
    limit; None, for `request_timeout`, the sandbox's own setting.

    A connection that breaks, or a daemon whose server is killed, is not noticed: the command is started once, and each
    byte comes once.
    """

    _input: Input

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._input = Input(calls, "stdin")

    def list(self, request_timeout: float | None = None, *, include_finished: bool = False) -> list[ProcessInfo]:
        """Return the commands that run, terminals too.

        Args:
            include_finished: also those that have ended and can still be connected to.
        """
        request = pb.ListRequest(include_finished=include_finished)
        response = self._calls.unary(LIST, request, doing="list commands", request_timeout=request_timeout)
        return [process_from(process) for process in response.processes]

    def kill(self, pid: int, request_timeout: float | None = None) -> bool:
        """SIGKILL a command and everything it started; False if there is none by that pid."""
        return self._input.kill(pid, request_timeout)

    def send_signal(self, pid: int, number: int, request_timeout: float | None = None) -> bool:
        """Send any signal (1 to 64) to a command; False if there is none by that pid."""
        return self._input.signal(pid, number, request_timeout)

    def send_stdin(self, pid: int, data: str | bytes, request_timeout: float | None = None) -> None:
        """Write to the standard input of a command that was run with `stdin=True`."""
        self._input.send(pid, data, request_timeout)

    def close_stdin(self, pid: int, request_timeout: float | None = None) -> None:
        """Close the standard input of a command."""
        self._input.close(pid, request_timeout)

    @overload
    def run(
        self,
        cmd: str,
        background: Literal[False] | None = None,
        timeout: float | None = 60,
        cwd: str | None = None,
        envs: dict[str, str] | None = None,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        on_stdout: Handler[str] | None = None,
        on_stderr: Handler[str] | None = None,
        stdin: bool | None = None,
        tag: str | None = None,
        idempotency_key: str | None = None,
        retain_output: bool = True,
    ) -> CommandResult: ...

    @overload
    def run(
        self,
        cmd: str,
        background: Literal[True],
        timeout: float | None = 60,
        cwd: str | None = None,
        envs: dict[str, str] | None = None,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        on_stdout: Handler[str] | None = None,
        on_stderr: Handler[str] | None = None,
        stdin: bool | None = None,
        tag: str | None = None,
        idempotency_key: str | None = None,
        retain_output: bool = True,
    ) -> CommandHandle: ...

    def run(
        self,
        cmd: str,
        background: bool | None = None,
        timeout: float | None = 60,
        cwd: str | None = None,
        envs: dict[str, str] | None = None,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        on_stdout: Handler[str] | None = None,
        on_stderr: Handler[str] | None = None,
        stdin: bool | None = None,
        tag: str | None = None,
        idempotency_key: str | None = None,
        retain_output: bool = True,
    ) -> CommandResult | CommandHandle:
        """Run a command line in a login shell.

        Args:
            cmd: for `/bin/bash -l -c`.
            background: True answers with a handle once it has started; else the result, once it has ended.
            timeout: seconds it may take; None and 0 mean as long as it likes.
            cwd: working directory; None is the sandbox's default, else the user's home.
            envs: variables for this command.
            user: whose rights it has; None is the sandbox's default user.
            on_stdout: called with each piece of text as it comes.
            on_stderr: the same for standard error.
            stdin: give it an input, for `send_stdin`; else it reads end-of-file.
            tag: a name, shown by `list`.
            idempotency_key: a command with the same key is not started again; this one is followed from its beginning.
            retain_output: False leaves the output out of results and handles, for commands that print without end.

        Raises:
            CommandExitException: it ended with another status than 0; it has the result.
            CommandTimeoutException: its time was up; it has the output until then.
        """
        executable, args = shell(cmd)
        timeout_s = limit(timeout)
        spec = StartSpec(executable, args, cwd, envs, timeout_s, stdin=bool(stdin), tag=tag, key=idempotency_key)
        following = Following(self._calls, Output(retain=retain_output, begin=OutputPosition()), doing="run")
        following.start(spec.request(), user, self._calls.timeout(request_timeout))
        following.end_at(timeout_s, least_s=NEWS_S)
        handle = CommandHandle(following, self._input, on_stdout, on_stderr, retain_output=retain_output)
        if background:
            return handle
        with handle:
            return handle.wait()

    def connect(
        self,
        pid: int | None = None,
        timeout: float | None = 60,
        request_timeout: float | None = None,
        *,
        on_stdout: Handler[str] | None = None,
        on_stderr: Handler[str] | None = None,
        tag: str | None = None,
        idempotency_key: str | None = None,
        resume: OutputPosition | None = None,
        replay: bool = False,
        retain_output: bool = True,
    ) -> CommandHandle:
        """Follow a command that was started before, by whomever. Finished ones can be connected to for a while.

        It begins at `resume`; without it where a handle of this sandbox for it was disconnected; else with what nobody
        has read yet. Output from there on that is no longer kept is in `gaps`.

        Args:
            pid: of the command.
            timeout: seconds to follow it for; the command is not affected.
            tag: its tag, instead of its pid.
            idempotency_key: the key it was run with, instead of its pid.
            resume: a handle's `position`, also from another process.
            replay: begin with everything that is kept.

        Raises:
            NotFoundException: there is none by that name, or not any more; or `resume` is of an earlier one.
            InvalidArgumentException: not exactly one of pid, tag and key is given, or `resume` is beyond its output.
        """
        which, doing = selector(pid, tag, idempotency_key), f"connect to {pid or tag or idempotency_key}"
        begin = resume or (OutputPosition() if replay else None)
        position, timeout_s = self._calls.left.take(pid), self._calls.timeout(request_timeout)
        following = Following(self._calls, Output(retain=retain_output, begin=begin or position), doing=doing)
        try:
            following.connect_from(which, begin or position, timeout_s)
        except (NotFoundException, InvalidArgumentException):
            if begin is not None or position is None:
                raise
            # Another one may have its pid.
            following = Following(self._calls, Output(retain=retain_output), doing=doing)
            following.connect_from(which, None, timeout_s)
        following.end_at(limit(timeout))
        return CommandHandle(following, self._input, on_stdout, on_stderr, retain_output=retain_output)
