"""The base of clients of the control plane: an address and credentials."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from envd_sdk.connection_config import ConnectionConfig
from envd_sdk.exceptions import AuthenticationException, SandboxException

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Limits:
    """Connections to the control plane: at most, kept open at most, and for how many seconds."""

    max_connections: int | None = 100
    max_keepalive_connections: int | None = 20
    keepalive_expiry: float | None = 5.0


class AuthenticatedClient:
    """Holds the control plane's address and the credentials to show there."""

    def __init__(
        self,
        config: ConnectionConfig,
        require_api_key: bool = True,
        require_access_token: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """Prepare it; nothing is sent.

        Args:
            config: has address, credentials, timeout and proxy.
            require_api_key: refuse to go on without an API key.
            require_access_token: refuse to go on without an access token.
            limits: of connections.

        Raises:
            AuthenticationException: a credential that is required is missing.
        """
        if require_api_key and not config.api_key:
            raise AuthenticationException(
                "an API key is needed: set E2B_API_KEY, or pass api_key; without a control plane, use Sandbox.local() "
                "or Sandbox.connect_local(address)"
            )
        if require_access_token and not config.access_token:
            raise AuthenticationException("an access token is needed: set E2B_ACCESS_TOKEN, or pass access_token")
        self.config = config
        self.base_url = config.api_url.rstrip("/")
        self.limits = limits or Limits()
        self.headers = {**_identity(), **_credentials(config), **config.headers}

    def options(self) -> dict[str, Any]:
        """Arguments for httpx's clients."""
        httpx = load_httpx()
        return {
            "base_url": self.base_url,
            "headers": self.headers,
            "timeout": httpx.Timeout(self.config.request_timeout),
            "proxy": self.config.proxy,
            "limits": httpx.Limits(
                max_connections=self.limits.max_connections,
                max_keepalive_connections=self.limits.max_keepalive_connections,
                keepalive_expiry=self.limits.keepalive_expiry,
            ),
        }


def load_httpx() -> Any:
    """httpx, imported now if it has not been: only what talks to a control plane needs it.

    Raises:
        SandboxException: it is not installed.
    """
    try:
        import httpx  # noqa: PLC0415 - as long to load as the rest of the SDK
    except ImportError:
        raise SandboxException("talking to a control plane needs httpx: pip install 'sandbox-envd[sdk]'") from None
    return httpx


def _credentials(config: ConnectionConfig) -> Mapping[str, str]:
    headers = {}
    if config.api_key:
        headers["X-API-Key"] = config.api_key
    if config.access_token:
        headers["Authorization"] = f"Bearer {config.access_token}"
    return headers


def _identity() -> Mapping[str, str]:
    from importlib import metadata  # noqa: PLC0415 - a tenth of the SDK's import, for a line of a header

    try:
        release = metadata.version("sandbox-envd")
    except metadata.PackageNotFoundError:
        release = "0"
    return {
        "User-Agent": f"envd-python-sdk/{release}",
        "lang": "python",
        "lang_version": platform.python_version(),
        "package_version": release,
        "publisher": "envd",
        "system": platform.system(),
    }
