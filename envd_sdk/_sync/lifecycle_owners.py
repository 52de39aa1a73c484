# Made by scripts/unasync from envd_sdk/_async/lifecycle_owners.py; change that one.
"""Owners of sandboxes: a sandbox belongs to a control plane, to this process, or to somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from envd_sdk._concurrency.running import outside
from envd_sdk._sync.api_client import ApiClient
from envd_sdk._wire.address import Address
from envd_sdk.client.conversion import info_from, metrics_from
from envd_sdk.connection_config import ConnectionConfig
from envd_sdk.exceptions import ConflictException, NotFoundException, SandboxException
from envd_sdk.local import LocalDaemon
from envd_sdk.sandbox_info import SandboxInfo, SandboxMetrics


class Owner(Protocol):
    """The operations an owner offers: kill, time-outs, information. Times are in seconds."""

    def kill(self, request_timeout: float | None) -> bool: ...
    def set_timeout(self, timeout: int, request_timeout: float | None) -> None: ...
    def get_info(self, request_timeout: float | None) -> SandboxInfo: ...
    def get_metrics(self, request_timeout: float | None) -> list[SandboxMetrics]: ...
    def pause(self, request_timeout: float | None) -> bool: ...

    def leave(self) -> None:
        """The `with` statement is over."""


@dataclass(frozen=True)
class Parts:
    """The parts a sandbox object is built from."""

    sandbox_id: str
    address: Address
    config: ConnectionConfig
    owner: Owner
    envd_version: str = ""
    domain: str | None = None


@dataclass(frozen=True)
class Controlled:
    """The owner of a sandbox that a control plane made: each operation is a request to the control plane."""

    sandbox_id: str
    config: ConnectionConfig

    def kill(self, request_timeout: float | None) -> bool:
        try:
            with ApiClient(self.config) as api:
                api.delete_sandboxes_sandbox_id(self.sandbox_id, timeout_s=request_timeout)
        except NotFoundException:
            return False
        return True

    def set_timeout(self, timeout: int, request_timeout: float | None) -> None:
        with ApiClient(self.config) as api:
            api.post_sandboxes_sandbox_id_timeout(self.sandbox_id, timeout, timeout_s=request_timeout)

    def get_info(self, request_timeout: float | None) -> SandboxInfo:
        with ApiClient(self.config) as api:
            return info_from(api.get_sandboxes_sandbox_id(self.sandbox_id, timeout_s=request_timeout))

    def get_metrics(self, request_timeout: float | None) -> list[SandboxMetrics]:
        with ApiClient(self.config) as api:
            metrics = api.get_sandboxes_sandbox_id_metrics(self.sandbox_id, timeout_s=request_timeout)
        return [metrics_from(metric) for metric in metrics]

    def pause(self, request_timeout: float | None) -> bool:
        try:
            with ApiClient(self.config) as api:
                api.post_sandboxes_sandbox_id_pause(self.sandbox_id, timeout_s=request_timeout)
        except ConflictException:
            return False
        return True

    def leave(self) -> None:
        self.kill(None)


class Unowned:
    """The owner of a sandbox whose daemon somebody else runs: it cannot end the sandbox or set its time-out."""

    def __init__(self, sandbox_id: str, *, debug: bool) -> None:
        """Stand for whoever that is.

        Args:
            sandbox_id: for `get_info`.
            debug: what cannot be done counts as done, as the published package has it in its debug mode.
        """
        self._sandbox_id = sandbox_id
        self._debug = debug

    def kill(self, request_timeout: float | None) -> bool:
        self._refuse("kill the sandbox")
        return True

    def set_timeout(self, timeout: int, request_timeout: float | None) -> None:
        self._refuse("set its timeout")

    def get_info(self, request_timeout: float | None) -> SandboxInfo:
        return SandboxInfo(self._sandbox_id)

    def get_metrics(self, request_timeout: float | None) -> list[SandboxMetrics]:
        return []

    def pause(self, request_timeout: float | None) -> bool:
        self._refuse("pause the sandbox")
        return False

    def leave(self) -> None:
        pass

    def _refuse(self, doing: str) -> None:
        if not self._debug:
            raise SandboxException(f"{doing}: no control plane made it; whoever started the daemon can do that")


class OwnDaemon(Unowned):
    """The owner of a sandbox whose daemon this process started: killing the sandbox stops the daemon."""

    def __init__(self, daemon: LocalDaemon, sandbox_id: str) -> None:
        super().__init__(sandbox_id, debug=False)
        self._daemon = daemon

    def kill(self, request_timeout: float | None) -> bool:
        return outside(self._daemon.stop)

    def leave(self) -> None:
        self.kill(None)


def start_local(command: Sequence[str] | None, config: ConnectionConfig) -> Parts:
    """Start a daemon of one's own.

    Raises:
        SandboxException: it does not start.
    """
    daemon = LocalDaemon(command)
    try:
        address = outside(daemon.start)
    except BaseException:
        # Also if whoever waits for it is cancelled meanwhile.
        daemon.stop()
        raise
    return Parts("local", address, config, OwnDaemon(daemon, "local"))
