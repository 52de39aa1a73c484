"""Documented functions, called with documented types; written by tests/sdk/test_documented.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import IO, Any, Literal, Optional, Union

import envd_sdk as sdk


def call_1(this: sdk.Sandbox, template: Optional[str], timeout: Optional[int], metadata: Optional[dict[str, str]], envs: Optional[dict[str, str]], api_key: Optional[str], domain: Optional[str], debug: Optional[bool], connection_config: Optional[sdk.ConnectionConfig]) -> None:
    _: sdk.Sandbox = sdk.Sandbox(template, timeout, metadata, envs, api_key, domain, debug, connection_config)


def call_2(this: sdk.Sandbox, request_timeout: Optional[float]) -> None:
    _: bool = this.is_running(request_timeout)


def call_3(this: sdk.Sandbox, request_timeout: Optional[float]) -> None:
    _: bool = this.kill(request_timeout)


def call_4(this: sdk.Sandbox, timeout: int, request_timeout: Optional[float]) -> None:
    this.set_timeout(timeout, request_timeout)


def call_5(this: sdk.Sandbox, request_timeout: Optional[float]) -> None:
    _: sdk.SandboxInfo = this.get_info(request_timeout)


def call_6(this: sdk.Sandbox, sandbox_id: str, api_key: Optional[str], domain: Optional[str], debug: Optional[bool], connection_config: Optional[sdk.ConnectionConfig]) -> None:
    _: sdk.Sandbox = sdk.Sandbox.connect(sandbox_id, api_key, domain, debug, connection_config)


def call_7(this: sdk.Sandbox) -> None:
    _: sdk.Sandbox = this.__enter__()


def call_8(this: sdk.Sandbox, exc_type: Any, exc_value: Any, traceback: Any) -> None:
    this.__exit__(exc_type, exc_value, traceback)


async def call_9(this: sdk.AsyncSandbox, request_timeout: Optional[float]) -> None:
    _: bool = await this.is_running(request_timeout)


async def call_10(this: sdk.AsyncSandbox, request_timeout: Optional[float]) -> None:
    _: bool = await this.kill(request_timeout)


async def call_11(this: sdk.AsyncSandbox, timeout: int, request_timeout: Optional[float]) -> None:
    await this.set_timeout(timeout, request_timeout)


async def call_12(this: sdk.AsyncSandbox, request_timeout: Optional[float]) -> None:
    _: sdk.SandboxInfo = await this.get_info(request_timeout)


async def call_13(this: sdk.AsyncSandbox, template: Optional[str], timeout: Optional[int], metadata: Optional[dict[str, str]], envs: Optional[dict[str, str]], api_key: Optional[str], domain: Optional[str], debug: Optional[bool], connection_config: Optional[sdk.ConnectionConfig]) -> None:
    _: sdk.AsyncSandbox = await sdk.AsyncSandbox.create(template, timeout, metadata, envs, api_key, domain, debug, connection_config)


async def call_14(this: sdk.AsyncSandbox, sandbox_id: str, api_key: Optional[str], domain: Optional[str], debug: Optional[bool], connection_config: Optional[sdk.ConnectionConfig]) -> None:
    _: sdk.AsyncSandbox = await sdk.AsyncSandbox.connect(sandbox_id, api_key, domain, debug, connection_config)


async def call_15(this: sdk.AsyncSandbox) -> None:
    _: sdk.AsyncSandbox = await this.__aenter__()


async def call_16(this: sdk.AsyncSandbox, exc_type: Any, exc_value: Any, traceback: Any) -> None:
    await this.__aexit__(exc_type, exc_value, traceback)


def call_17(this: sdk.Filesystem, path: str, format: Literal['text'], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: str = this.read(path, format, user, request_timeout)


def call_18(this: sdk.Filesystem, path: str, format: Literal['bytes'], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: bytearray = this.read(path, format, user, request_timeout)


def call_19(this: sdk.Filesystem, path: str, format: Literal['stream'], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: Iterator[bytes] = this.read(path, format, user, request_timeout)


async def call_20(this: sdk.AsyncFilesystem, path: str, format: Literal['text'], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: str = await this.read(path, format, user, request_timeout)


async def call_21(this: sdk.AsyncFilesystem, path: str, format: Literal['bytes'], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: bytearray = await this.read(path, format, user, request_timeout)


async def call_22(this: sdk.AsyncFilesystem, path: str, format: Literal['stream'], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: AsyncIterator[bytes] = await this.read(path, format, user, request_timeout)


def call_23(this: sdk.Filesystem, path: str, data: Union[str, bytes, IO[Any]], user: sdk.Username, request_timeout: Optional[float]) -> None:
    this.write(path, data, user, request_timeout)


def call_24(this: sdk.Filesystem, files: list[sdk.WriteEntry], user: Optional[sdk.Username], request_timeout: Optional[float]) -> None:
    this.write(files, user, request_timeout)


async def call_25(this: sdk.AsyncFilesystem, path: str, data: Union[str, bytes, IO[Any]], user: sdk.Username, request_timeout: Optional[float]) -> None:
    await this.write(path, data, user, request_timeout)


async def call_26(this: sdk.AsyncFilesystem, files: list[sdk.WriteEntry], user: Optional[sdk.Username], request_timeout: Optional[float]) -> None:
    await this.write(files, user, request_timeout)


def call_27(this: sdk.Filesystem, path: str, depth: Optional[int], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: list[sdk.EntryInfo] = this.list(path, depth, user, request_timeout)


async def call_28(this: sdk.AsyncFilesystem, path: str, depth: Optional[int], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: list[sdk.EntryInfo] = await this.list(path, depth, user, request_timeout)


def call_29(this: sdk.Filesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: bool = this.exists(path, user, request_timeout)


async def call_30(this: sdk.AsyncFilesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: bool = await this.exists(path, user, request_timeout)


def call_31(this: sdk.Filesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    this.remove(path, user, request_timeout)


async def call_32(this: sdk.AsyncFilesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    await this.remove(path, user, request_timeout)


def call_33(this: sdk.Filesystem, old_path: str, new_path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    this.rename(old_path, new_path, user, request_timeout)


async def call_34(this: sdk.AsyncFilesystem, old_path: str, new_path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    await this.rename(old_path, new_path, user, request_timeout)


def call_35(this: sdk.Filesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    this.make_dir(path, user, request_timeout)


async def call_36(this: sdk.AsyncFilesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    await this.make_dir(path, user, request_timeout)


def call_37(this: sdk.Filesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: sdk.WatchHandle = this.watch_dir(path, user, request_timeout)


async def call_38(this: sdk.AsyncFilesystem, path: str, user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: sdk.AsyncWatchHandle = await this.watch_dir(path, user, request_timeout)


def call_39(this: sdk.Commands, request_timeout: Optional[float]) -> None:
    _: list[sdk.ProcessInfo] = this.list(request_timeout)


async def call_40(this: sdk.AsyncCommands, request_timeout: Optional[float]) -> None:
    _: list[sdk.ProcessInfo] = await this.list(request_timeout)


def call_41(this: sdk.Commands, pid: int, request_timeout: Optional[float]) -> None:
    this.kill(pid, request_timeout)


async def call_42(this: sdk.AsyncCommands, pid: int, request_timeout: Optional[float]) -> None:
    await this.kill(pid, request_timeout)


def call_43(this: sdk.Commands, pid: int, data: str, request_timeout: Optional[float]) -> None:
    this.send_stdin(pid, data, request_timeout)


async def call_44(this: sdk.AsyncCommands, pid: int, data: str, request_timeout: Optional[float]) -> None:
    await this.send_stdin(pid, data, request_timeout)


def call_45(this: sdk.Commands, cmd: str, background: Union[Literal[False], None], timeout: Optional[float], cwd: Optional[str], envs: Optional[dict[str, str]], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: sdk.CommandResult = this.run(cmd, background, timeout, cwd, envs, user, request_timeout)


def call_46(this: sdk.Commands, cmd: str, background: Literal[True], timeout: Optional[float], cwd: Optional[str], envs: Optional[dict[str, str]], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: sdk.CommandHandle = this.run(cmd, background, timeout, cwd, envs, user, request_timeout)


async def call_47(this: sdk.AsyncCommands, cmd: str, background: Union[Literal[False], None], timeout: Optional[float], cwd: Optional[str], envs: Optional[dict[str, str]], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: sdk.CommandResult = await this.run(cmd, background, timeout, cwd, envs, user, request_timeout)


async def call_48(this: sdk.AsyncCommands, cmd: str, background: Literal[True], timeout: Optional[float], cwd: Optional[str], envs: Optional[dict[str, str]], user: sdk.Username, request_timeout: Optional[float]) -> None:
    _: sdk.AsyncCommandHandle = await this.run(cmd, background, timeout, cwd, envs, user, request_timeout)


def call_49(this: sdk.Commands, pid: int, timeout: Optional[float], request_timeout: Optional[float]) -> None:
    _: sdk.CommandHandle = this.connect(pid, timeout, request_timeout)


async def call_50(this: sdk.AsyncCommands, pid: int, timeout: Optional[float], request_timeout: Optional[float]) -> None:
    _: sdk.AsyncCommandHandle = await this.connect(pid, timeout, request_timeout)


def call_51(this: sdk.ApiClient, config: sdk.ConnectionConfig, require_api_key: bool, require_access_token: bool, limits: Optional[Any]) -> None:
    _: sdk.ApiClient = sdk.ApiClient(config, require_api_key, require_access_token, limits)


def call_52(this: sdk.AsyncApiClient, config: sdk.ConnectionConfig, require_api_key: bool, require_access_token: bool, limits: Optional[Any]) -> None:
    _: sdk.AsyncApiClient = sdk.AsyncApiClient(config, require_api_key, require_access_token, limits)
