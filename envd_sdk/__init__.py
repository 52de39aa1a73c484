"""Sandboxes for Python programs: commands, files and terminals, with and without asyncio.

from envd_sdk import Sandbox

with Sandbox.local() as sandbox:
    print(sandbox.commands.run("echo hello").stdout)
"""

from envd_sdk import client
from envd_sdk._async.api_client import AsyncApiClient
from envd_sdk._async.command_handle import AsyncCommandHandle
from envd_sdk._async.commands import AsyncCommands
from envd_sdk._async.filesystem import AsyncFilesystem
from envd_sdk._async.listing import AsyncSandboxPaginator
from envd_sdk._async.pty import AsyncPty
from envd_sdk._async.reading import AsyncFileStream
from envd_sdk._async.sandbox import AsyncSandbox
from envd_sdk._async.watching import AsyncWatchHandle, AsyncWatchStream
from envd_sdk._sync.api_client import ApiClient
from envd_sdk._sync.command_handle import CommandHandle
from envd_sdk._sync.commands import Commands
from envd_sdk._sync.filesystem import Filesystem
from envd_sdk._sync.listing import SandboxPaginator
from envd_sdk._sync.pty import Pty
from envd_sdk._sync.reading import FileStream
from envd_sdk._sync.sandbox import Sandbox
from envd_sdk._sync.watching import WatchHandle, WatchStream
from envd_sdk.connection_config import AsyncSandboxOpts, ConnectionConfig, SandboxOpts
from envd_sdk.entries import EntryInfo, FilesystemEvent, FilesystemEventType, FileType, WriteEntry, WriteInfo
from envd_sdk.exceptions import (
    ApiException,
    AuthenticationException,
    CommandExitException,
    CommandTimeoutException,
    ConflictException,
    FileNotFoundException,
    InvalidArgumentException,
    NotEnoughSpaceException,
    NotFoundException,
    NotYetException,
    PermissionDeniedException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    SandboxUnreachableException,
    TemplateException,
    TimeoutException,
)
from envd_sdk.paths import SandboxPath
from envd_sdk.results import (
    CommandResult,
    OutputGap,
    OutputPosition,
    ProcessInfo,
    PtyOutput,
    PtySize,
    Stderr,
    Stdout,
    TerminalInfo,
    Username,
)
from envd_sdk.sandbox_info import SandboxInfo, SandboxMetrics, SandboxQuery, SandboxState
from envd_sdk.searches import GrepFile, GrepLine, GrepResult, Lines, ReplacedFile, ReplaceResult, Skipped
from envd_sdk.trees import TreeInfo
from envd_sdk.uploads import WriteOptions

__all__ = [
    "ApiClient",
    "ApiException",
    "AsyncApiClient",
    "AsyncCommandHandle",
    "AsyncCommands",
    "AsyncFileStream",
    "AsyncFilesystem",
    "AsyncPty",
    "AsyncSandbox",
    "AsyncSandboxOpts",
    "AsyncSandboxPaginator",
    "AsyncWatchHandle",
    "AsyncWatchStream",
    "AuthenticationException",
    "CommandExitException",
    "CommandHandle",
    "CommandResult",
    "CommandTimeoutException",
    "Commands",
    "ConflictException",
    "ConnectionConfig",
    "EntryInfo",
    "FileNotFoundException",
    "FileStream",
    "FileType",
    "Filesystem",
    "FilesystemEvent",
    "FilesystemEventType",
    "GrepFile",
    "GrepLine",
    "GrepResult",
    "InvalidArgumentException",
    "Lines",
    "NotEnoughSpaceException",
    "NotFoundException",
    "NotYetException",
    "OutputGap",
    "OutputPosition",
    "PermissionDeniedException",
    "ProcessInfo",
    "Pty",
    "PtyOutput",
    "PtySize",
    "RateLimitException",
    "ReplaceResult",
    "ReplacedFile",
    "Sandbox",
    "SandboxException",
    "SandboxInfo",
    "SandboxMetrics",
    "SandboxNotFoundException",
    "SandboxOpts",
    "SandboxPaginator",
    "SandboxPath",
    "SandboxQuery",
    "SandboxState",
    "SandboxUnreachableException",
    "Skipped",
    "Stderr",
    "Stdout",
    "TemplateException",
    "TerminalInfo",
    "TimeoutException",
    "TreeInfo",
    "Username",
    "WatchHandle",
    "WatchStream",
    "WriteEntry",
    "WriteInfo",
    "WriteOptions",
    "client",
]
