"""Exceptions of the SDK.

    SandboxException                     everything below
      TimeoutException                   a deadline passed, or the sandbox could not be reached in time
        NotYetException                  what was waited for has not come in time
        CommandTimeoutException          a command's time was up; has its output so far
        SandboxUnreachableException      no connection to the sandbox
      NotFoundException                  no such file, command or sandbox
        FileNotFoundException
        SandboxNotFoundException
      AuthenticationException            a missing or wrong key, token or user
      PermissionDeniedException          the user, or the daemon, may not do that
      InvalidArgumentException           an argument is invalid
      NotEnoughSpaceException            the disk, or a quota, is full
      ConflictException                  it is there already, or was changed by someone else
      TemplateException                  the sandbox's template does not fit this SDK
      RateLimitException                 the control plane wants fewer requests
      ApiException                       the control plane answered with any other error
      CommandExitException               a command ended with a status other than zero; is a CommandResult

Every one has `code`, the name of the contract's code where there was one.
"""

from __future__ import annotations

from envd_sdk.results import CommandResult


class SandboxException(Exception):  # noqa: N818 - the names are the contract's
    """The base of the SDK's exceptions.

    Attributes:
        code: the contract's name for it ("not_found", "unavailable", ...), or "" if it did not come from a daemon.
        repeated: an earlier attempt at the same call got no answer, and may have been carried out.
    """

    code: str = ""
    repeated: bool = False


class TimeoutException(SandboxException):
    """A deadline passed, or the call was given up."""


class CommandTimeoutException(TimeoutException):
    """The time of a command, or of following it, was up.

    Attributes:
        stdout: what it had printed until then.
        stderr: the same for standard error.
    """

    def __init__(self, message: str, *, stdout: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.stdout = stdout
        self.stderr = stderr


class NotYetException(TimeoutException):
    """The event did not come in time; the caller can wait again."""


class SandboxUnreachableException(TimeoutException):
    """There is no connection to the sandbox, and trying again for a while did not help."""


class NotFoundException(SandboxException):
    """The named thing does not exist."""


class FileNotFoundException(NotFoundException):
    """No such file or directory."""


class SandboxNotFoundException(NotFoundException):
    """The control plane knows no such sandbox."""


class AuthenticationException(SandboxException):
    """A key, token or user is missing or wrong."""


class PermissionDeniedException(SandboxException):
    """The file or process exists, but the user has no right to this operation on it."""


class InvalidArgumentException(SandboxException):
    """An argument is invalid; the message says which and why."""


class NotEnoughSpaceException(SandboxException):
    """The disk, or a quota, is full. What was there before is unchanged."""


class ConflictException(SandboxException):
    """The entry exists already, or differs from what the call expected."""


class TemplateException(SandboxException):
    """The sandbox's daemon is too old for this SDK."""


class RateLimitException(SandboxException):
    """The control plane wants fewer requests."""


class ApiException(SandboxException):
    """The control plane refused.

    Attributes:
        status: HTTP status of its answer.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class CommandExitException(SandboxException, CommandResult):
    """A command ended with a status other than zero; it has what a CommandResult has."""

    def __init__(self, result: CommandResult) -> None:
        Exception.__init__(self, result)
        CommandResult.__init__(
            self, result.stderr, result.stdout, result.exit_code, error=result.error, gaps=result.gaps
        )

    def __str__(self) -> str:
        last = self.stderr.strip()
        return f"command ended with status {self.exit_code}{f': {self.error}' if self.error else ''}" + (
            f"\n{last}" if last else ""
        )
