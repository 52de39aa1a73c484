"""Configuration of connections to a control plane and its sandboxes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypedDict

from envd_sdk._wire.address import Address, address_from
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.retrying import DEFAULT_PATIENCE_S

# Seconds.
REQUEST_TIMEOUT = 30.0
KEEPALIVE_PING_INTERVAL_SEC = 50

ENVD_PORT = 49983
_API_PORT = 3000


class PlaceOpts(TypedDict, total=False):
    """Arguments of ConnectionConfig that say where things are."""

    access_token: str | None
    headers: Mapping[str, str] | None
    proxy: str | None
    api_url: str | None
    sandbox_url: str | None
    sandbox_headers: Mapping[str, str] | None
    reconnect_timeout: float | None


class ConnectionOpts(PlaceOpts, total=False):
    """Arguments of ConnectionConfig that the classes of sandboxes take, too."""

    request_timeout: float | None


class IdOpts(PlaceOpts, total=False):
    """Arguments of methods that take a sandbox's id: they say how to reach the control plane."""

    connection_config: ConnectionConfig | None
    api_key: str | None
    domain: str | None
    debug: bool | None


class SandboxOpts(IdOpts, total=False):
    """Arguments of `create`, and of the classes themselves."""

    template: str | None
    timeout: int | None
    metadata: Mapping[str, str] | None
    envs: Mapping[str, str] | None
    secure: bool
    allow_internet_access: bool
    auto_pause: bool
    request_timeout: float | None


# By its documented name.
AsyncSandboxOpts = SandboxOpts


class ConnectionConfig:
    """Configuration of connections to a control plane and its sandboxes. Its defaults come from the environment.

    Attributes:
        domain: `E2B_DOMAIN`, else "e2b.app".
        debug: `E2B_DEBUG`: no control plane; the sandbox is a daemon on this machine.
        api_key: `E2B_API_KEY`.
        access_token: `E2B_ACCESS_TOKEN`.
        request_timeout: seconds for one request; None if there is no limit.
        headers: sent with every request to the control plane.
        sandbox_headers: sent with every call of a sandbox.
        proxy: URL of an HTTP proxy.
        api_url: `E2B_API_URL`, else from debug and domain.
        sandbox_url: `E2B_SANDBOX_URL`, else from the sandbox's id and domain.
        reconnect_timeout: seconds for which a lost connection to a sandbox is tried again.
    """

    def __init__(
        self,
        domain: str | None = None,
        debug: bool | None = None,
        api_key: str | None = None,
        access_token: str | None = None,
        request_timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        api_url: str | None = None,
        sandbox_url: str | None = None,
        *,
        sandbox_headers: Mapping[str, str] | None = None,
        reconnect_timeout: float | None = None,
    ) -> None:
        self.domain = domain or os.environ.get("E2B_DOMAIN") or "e2b.app"
        self.debug = os.environ.get("E2B_DEBUG", "").lower() == "true" if debug is None else debug
        self.api_key = api_key or os.environ.get("E2B_API_KEY")
        self.access_token = access_token or os.environ.get("E2B_ACCESS_TOKEN")
        self.request_timeout = _seconds(request_timeout)
        self.headers = dict(headers or {})
        self.sandbox_headers = dict(sandbox_headers or {})
        self.proxy = proxy
        self.api_url = api_url or os.environ.get("E2B_API_URL") or self._default_api_url()
        self.sandbox_url = sandbox_url or os.environ.get("E2B_SANDBOX_URL")
        self.reconnect_timeout = DEFAULT_PATIENCE_S if reconnect_timeout is None else reconnect_timeout

    def get_request_timeout(self, request_timeout: float | None = None) -> float | None:
        """Seconds for one request: what is given, else what was configured; None for no limit, which 0 means."""
        return self.request_timeout if request_timeout is None else _seconds(request_timeout)

    def get_host(self, sandbox_id: str, sandbox_domain: str | None, port: int) -> str:
        """The name under which a port of a sandbox can be reached."""
        if self.debug:
            return f"localhost:{port}"
        return f"{port}-{sandbox_id}.{sandbox_domain or self.domain}"

    def get_sandbox_direct_url(self, sandbox_id: str, sandbox_domain: str | None = None) -> str:
        """The URL of a sandbox's daemon, for whoever can send no headers."""
        if self.sandbox_url:
            return self.sandbox_url
        scheme = "http" if self.debug else "https"
        return f"{scheme}://{self.get_host(sandbox_id, sandbox_domain, ENVD_PORT)}"

    def address(self, sandbox_id: str, sandbox_domain: str | None, token: str | None) -> Address:
        """Where a sandbox's daemon is.

        Raises:
            InvalidArgumentException: sandbox_url is not a URL.
        """
        try:
            address = address_from(self.get_sandbox_direct_url(sandbox_id, sandbox_domain))
        except ValueError as error:
            raise InvalidArgumentException(f"sandbox_url: {error}") from None
        routing = {"e2b-sandbox-id": sandbox_id, "e2b-sandbox-port": str(ENVD_PORT)}
        metadata = {**routing, **self.sandbox_headers}
        return Address(address.target, address.tls, metadata, address.url, token, self.proxy)

    @classmethod
    def of(
        cls,
        config: ConnectionConfig | None,
        api_key: str | None,
        domain: str | None,
        debug: bool | None,
        opts: Mapping[str, object],
    ) -> ConnectionConfig:
        """A configuration, with what else was given in place of what it says."""
        named: dict[str, object] = {"api_key": api_key, "domain": domain, "debug": debug, **opts}
        given = {name: value for name, value in named.items() if value is not None}
        if config is not None and not given:
            return config
        former = {} if config is None else config._given()  # noqa: SLF001 - of this class
        return cls(**{**former, **given})  # type: ignore[arg-type]

    def _given(self) -> dict[str, object]:
        """The arguments that make this one again. URLs that were derived are derived again."""
        settings = dict(vars(self))
        settings["request_timeout"] = self.request_timeout or 0
        if self.api_url == self._default_api_url():
            del settings["api_url"]
        return settings

    def _default_api_url(self) -> str:
        return f"http://localhost:{_API_PORT}" if self.debug else f"https://api.{self.domain}"


def _seconds(seconds: float | None) -> float | None:
    if seconds is None:
        return REQUEST_TIMEOUT
    if seconds < 0:
        raise InvalidArgumentException(f"request_timeout is {seconds}: give seconds, or 0 for no limit")
    return seconds or None


def configured(opts: IdOpts) -> ConnectionConfig:
    """The configuration that options amount to."""
    settings = dict(opts)
    config = settings.pop("connection_config", None)
    if config is not None and not isinstance(config, ConnectionConfig):
        raise InvalidArgumentException("connection_config is not a ConnectionConfig")
    return ConnectionConfig.of(config, None, None, None, settings)
