"""Owners of sandboxes: a sandbox belongs to a control plane, to this process, or to somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from envd_sdk._async.api_client import AsyncApiClient
from envd_sdk._concurrency.running import outside_async
from envd_sdk._wire.address import Address
from envd_sdk.client.conversion import info_from, metrics_from
from envd_sdk.connection_config import ConnectionConfig
from envd_sdk.exceptions import ConflictException, NotFoundException, SandboxException
from envd_sdk.local import LocalDaemon
from envd_sdk.sandbox_info import SandboxInfo, SandboxMetrics


class AsyncOwner(Protocol):
    """The operations an owner offers: kill, time-outs, information. Times are in seconds."""

    async def kill(self, request_timeout: float | None) -> bool: ...
    async def set_timeout(self, timeout: int, request_timeout: float | None) -> None: ...
    async def get_info(self, request_timeout: float | None) -> SandboxInfo: ...
    async def get_metrics(self, request_timeout: float | None) -> list[SandboxMetrics]: ...
    async def pause(self, request_timeout: float | None) -> bool: ...

    async def leave(self) -> None:
        """The `with` statement is over."""


@dataclass(frozen=True)
class AsyncParts:
    """The parts a sandbox object is built from."""

    sandbox_id: str
    address: Address
    config: ConnectionConfig
    owner: AsyncOwner
    envd_version: str = ""
    domain: str | None = None


@dataclass(frozen=True)
class AsyncControlled:
    """The owner of a sandbox that a control plane made: each operation is a request to the control plane."""

    sandbox_id: str
    config: ConnectionConfig

    async def kill(self, request_timeout: float | None) -> bool:
        try:
            async with AsyncApiClient(self.config) as api:
                await api.delete_sandboxes_sandbox_id(self.sandbox_id, timeout_s=request_timeout)
        except NotFoundException:
            return False
        return True

    async def set_timeout(self, timeout: int, request_timeout: float | None) -> None:
        async with AsyncApiClient(self.config) as api:
            await api.post_sandboxes_sandbox_id_timeout(self.sandbox_id, timeout, timeout_s=request_timeout)

    async def get_info(self, request_timeout: float | None) -> SandboxInfo:
        async with AsyncApiClient(self.config) as api:
            return info_from(await api.get_sandboxes_sandbox_id(self.sandbox_id, timeout_s=request_timeout))

    async def get_metrics(self, request_timeout: float | None) -> list[SandboxMetrics]:
        async with AsyncApiClient(self.config) as api:
            metrics = await api.get_sandboxes_sandbox_id_metrics(self.sandbox_id, timeout_s=request_timeout)
        return [metrics_from(metric) for metric in metrics]

    async def pause(self, request_timeout: float | None) -> bool:
        try:
            async with AsyncApiClient(self.config) as api:
                await api.post_sandboxes_sandbox_id_pause(self.sandbox_id, timeout_s=request_timeout)
        except ConflictException:
            return False
        return True

    async def leave(self) -> None:
        await self.kill(None)


class AsyncUnowned:
    """The owner of a sandbox whose daemon somebody else runs: it cannot end the sandbox or set its time-out."""

    def __init__(self, sandbox_id: str, *, debug: bool) -> None:
        """Stand for whoever that is.

        Args:
            sandbox_id: for `get_info`.
            debug: what cannot be done counts as done, as the published package has it in its debug mode.
        """
        self._sandbox_id = sandbox_id
        self._debug = debug

    async def kill(self, request_timeout: float | None) -> bool:  # noqa: ARG002 - as the others
        self._refuse("kill the sandbox")
        return True

    async def set_timeout(self, timeout: int, request_timeout: float | None) -> None:  # noqa: ARG002
        self._refuse("set its timeout")

    async def get_info(self, request_timeout: float | None) -> SandboxInfo:  # noqa: ARG002
        return SandboxInfo(self._sandbox_id)

    async def get_metrics(self, request_timeout: float | None) -> list[SandboxMetrics]:  # noqa: ARG002
        return []

    async def pause(self, request_timeout: float | None) -> bool:  # noqa: ARG002
        self._refuse("pause the sandbox")
        return False

    async def leave(self) -> None:
        pass

    def _refuse(self, doing: str) -> None:
        if not self._debug:
            raise SandboxException(f"{doing}: no control plane made it; whoever started the daemon can do that")


class AsyncOwnDaemon(AsyncUnowned):
    """The owner of a sandbox whose daemon this process started: killing the sandbox stops the daemon."""

    def __init__(self, daemon: LocalDaemon, sandbox_id: str) -> None:
        super().__init__(sandbox_id, debug=False)
        self._daemon = daemon

    async def kill(self, request_timeout: float | None) -> bool:  # noqa: ARG002
        return await outside_async(self._daemon.stop)

    async def leave(self) -> None:
        await self.kill(None)


async def start_local(command: Sequence[str] | None, config: ConnectionConfig) -> AsyncParts:
    """Start a daemon of one's own.

    Raises:
        SandboxException: it does not start.
    """
    daemon = LocalDaemon(command)
    try:
        address = await outside_async(daemon.start)
    except BaseException:
        # Also if whoever waits for it is cancelled meanwhile.
        daemon.stop()
        raise
    return AsyncParts("local", address, config, AsyncOwnDaemon(daemon, "local"))
