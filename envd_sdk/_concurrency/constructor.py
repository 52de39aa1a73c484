"""Constructors of the sandbox classes: calling `Sandbox` makes a sandbox, `async with AsyncSandbox` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from envd_sdk.connection_config import ConnectionConfig, ConnectionOpts, SandboxOpts
from envd_sdk.exceptions import SandboxException


class AsyncConstructor:
    """`AsyncSandbox.create` is preferred; `async with AsyncSandbox(...)` does the same."""

    _options: dict[str, Any]

    def __init__(self, **opts: Unpack[SandboxOpts]) -> None:
        """Keep what `create` takes, for `async with`."""
        self._options = dict(opts)

    if not TYPE_CHECKING:  # or every attribute would be there

        def __getattr__(self, name: str) -> object:
            if name.startswith("__") or "_parts" in vars(self):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            kind = type(self).__name__
            raise SandboxException(
                f"this {kind} is not made yet: await {kind}.create(...), or enter it with async with"
            )


class Constructor:
    """`Sandbox.create` is preferred; `Sandbox(...)` does the same."""

    _options: dict[str, Any]

    def __init__(
        self,
        template: str | None = None,
        timeout: int | None = None,
        metadata: Mapping[str, str] | None = None,
        envs: Mapping[str, str] | None = None,
        api_key: str | None = None,
        domain: str | None = None,
        debug: bool | None = None,
        connection_config: ConnectionConfig | None = None,
        **opts: Unpack[ConnectionOpts],
    ) -> None:
        """Make a sandbox; arguments and exceptions as for `create`."""
        self._options = {
            "template": template,
            "timeout": timeout,
            "metadata": metadata,
            "envs": envs,
            "api_key": api_key,
            "domain": domain,
            "debug": debug,
            "connection_config": connection_config,
            **opts,
        }
        self._make()

    def _make(self) -> None:
        raise NotImplementedError
