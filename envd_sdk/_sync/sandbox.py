# Made by scripts/unasync from envd_sdk/_async/sandbox.py; change that one.
"""A sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, Unpack

from google.protobuf.empty_pb2 import Empty

from envd_sdk._concurrency.constructor import Constructor
from envd_sdk._sync.calls import Calls
from envd_sdk._sync.commands import Commands
from envd_sdk._sync.filesystem import Filesystem
from envd_sdk._sync.lifecycle import DEFAULT_SANDBOX_TIMEOUT, connected, created
from envd_sdk._sync.lifecycle_owners import Controlled, Parts, Unowned, start_local
from envd_sdk._sync.listing import SandboxPaginator
from envd_sdk._sync.pty import Pty
from envd_sdk._wire.address import address_from
from envd_sdk._wire.blocking import Wire
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.methods import HEALTH
from envd_sdk.client import models
from envd_sdk.connection_config import ConnectionConfig, ConnectionOpts, IdOpts, configured
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.hybrid_method import HybridMethod
from envd_sdk.paths import SandboxPath
from envd_sdk.results import Username
from envd_sdk.sandbox_info import SandboxInfo, SandboxMetrics, SandboxQuery
from envd_sdk.signing import file_url
from envd_sdk.status import exception_from

DEFAULT_TEMPLATE = "base"
Metrics = list[SandboxMetrics]


class Sandbox(Constructor):
    """A sandbox: its files, commands and terminals.

    Made by `create` (a control plane makes it), `connect` (it made one before), `connect_local` (a daemon at an
    address) or `local` (a daemon that this process starts). At the end of a `with` statement a sandbox that was made,
    or connected to through a control plane, is killed; one of `connect_local` is only left.

    One object may be used by any number of tasks or threads at once. `request_timeout` is in seconds everywhere; 0
    means no limit, None the sandbox's own setting.
    """

    default_template = DEFAULT_TEMPLATE

    @classmethod
    def create(
        cls,
        template: str | None = None,
        timeout: int | None = None,
        metadata: Mapping[str, str] | None = None,
        envs: Mapping[str, str] | None = None,
        api_key: str | None = None,
        domain: str | None = None,
        debug: bool | None = None,
        connection_config: ConnectionConfig | None = None,
        *,
        secure: bool = True,
        allow_internet_access: bool = True,
        auto_pause: bool = False,
        **opts: Unpack[ConnectionOpts],
    ) -> Self:
        """Make a sandbox through a control plane.

        Args:
            template: name or id of what to make it from; None is "base".
            timeout: seconds it lives; None is 300.
            metadata: to find it by later.
            envs: variables for all its commands.
            api_key, domain, debug, opts: as in ConnectionConfig, and used instead of what connection_config says.
            connection_config: how to reach the control plane.
            secure: its daemon asks for a token, which this object knows.
            auto_pause: it is paused, not killed, when its time is up.

        Raises:
            AuthenticationException: the API key is missing or wrong.
            SandboxException: the control plane refuses.
        """
        config = ConnectionConfig.of(connection_config, api_key, domain, debug, opts)
        request = models.NewSandbox(
            template or cls.default_template,
            DEFAULT_SANDBOX_TIMEOUT if timeout is None else timeout,
            dict(metadata or {}),
            dict(envs or {}),
            secure,
            auto_pause,
            allow_internet_access,
        )
        return cls._of(created(config, request))

    @classmethod
    def connect_local(
        cls, address: str, token: str | None = None, *, sandbox_id: str = "local", **opts: Unpack[ConnectionOpts]
    ) -> Self:
        """Use a daemon that runs already, without a control plane. Nothing is sent yet.

        Args:
            address: "HOST:PORT", "unix:PATH", or a URL with http or https.
            token: access token, if the daemon asks for one.

        Raises:
            InvalidArgumentException: that is no address.
        """
        config = ConnectionConfig.of(None, None, None, None, opts)
        try:
            where = address_from(address)
        except ValueError as error:
            raise InvalidArgumentException(str(error)) from None
        owner = Unowned(sandbox_id, debug=False)
        return cls._of(Parts(sandbox_id, where.with_token(token), config, owner))

    @classmethod
    def local(cls, *, command: Sequence[str] | None = None, **opts: Unpack[ConnectionOpts]) -> Self:
        """Start a daemon on this machine, until `kill`, the end of the `with` statement, or the end of this process.

        It isolates nothing: commands run as this user, on this machine.

        Args:
            command: how to start another daemon than the one that is installed; `--listen ADDRESS` is added.

        Raises:
            SandboxException: it does not start.
        """
        return cls._of(start_local(command, ConnectionConfig.of(None, None, None, None, opts)))

    @classmethod
    def list(
        cls,
        query: SandboxQuery | None = None,
        limit: int | None = None,
        next_token: str | None = None,
        *,
        connection_config: ConnectionConfig | None = None,
        api_key: str | None = None,
        domain: str | None = None,
        **opts: Unpack[ConnectionOpts],
    ) -> SandboxPaginator:
        """The sandboxes the control plane knows, `limit` on a page."""
        config = ConnectionConfig.of(connection_config, api_key, domain, None, opts)
        return SandboxPaginator(config, query, limit, next_token)

    def __repr__(self) -> str:
        parts: Parts | None = vars(self).get("_parts")
        return f"<{type(self).__name__}: {'not made yet' if parts is None else parts.sandbox_id}>"

    @property
    def sandbox_id(self) -> str:
        """Names it, for `connect`."""
        return self._parts.sandbox_id

    @property
    def sandbox_domain(self) -> str:
        """The domain its names are below."""
        return self._parts.domain or self._parts.config.domain

    @property
    def envd_version(self) -> str:
        """Of its daemon, if the control plane says so."""
        return self._parts.envd_version

    @property
    def connection_config(self) -> ConnectionConfig:
        """How it is reached."""
        return self._parts.config

    @property
    def files(self) -> Filesystem:
        """Its files."""
        return self._files

    @property
    def commands(self) -> Commands:
        """Its commands."""
        return self._commands

    @property
    def pty(self) -> Pty:
        """Its terminals."""
        return self._pty

    def is_running(self, request_timeout: float | None = None) -> bool:
        """Whether its daemon answers. Asked once: a sandbox that cannot be reached is not running.

        Raises:
            TimeoutException: there is a connection, but no answer in time.
        """
        try:
            self._wire.unary(HEALTH, Empty(), self._calls.metadata(None), self._calls.timeout(request_timeout))
        except WireError as error:
            if error.lost:
                return False
            raise exception_from(error, doing="ask whether the sandbox runs") from error
        return True

    def _kill(self, request_timeout: float | None = None) -> bool:
        """End the sandbox; False if there is none any more."""
        return self._parts.owner.kill(request_timeout)

    @classmethod
    def _kill_by_id(cls, /, sandbox_id: str, request_timeout: float | None = None, **opts: Unpack[IdOpts]) -> bool:
        return Controlled(sandbox_id, configured(opts)).kill(request_timeout)

    kill = HybridMethod(_kill, _kill_by_id)

    def _set_timeout(self, timeout: int, request_timeout: float | None = None) -> None:
        """Let the sandbox live for so many seconds from now."""
        self._parts.owner.set_timeout(timeout, request_timeout)

    @classmethod
    def _set_timeout_by_id(
        cls,
        /,
        sandbox_id: str,
        timeout: int,
        request_timeout: float | None = None,
        **opts: Unpack[IdOpts],
    ) -> None:
        Controlled(sandbox_id, configured(opts)).set_timeout(timeout, request_timeout)

    set_timeout = HybridMethod(_set_timeout, _set_timeout_by_id)

    def _get_info(self, request_timeout: float | None = None) -> SandboxInfo:
        """What the control plane knows of it."""
        return self._parts.owner.get_info(request_timeout)

    @classmethod
    def _get_info_by_id(
        cls, /, sandbox_id: str, request_timeout: float | None = None, **opts: Unpack[IdOpts]
    ) -> SandboxInfo:
        return Controlled(sandbox_id, configured(opts)).get_info(request_timeout)

    get_info = HybridMethod(_get_info, _get_info_by_id)

    def _connect(self, timeout: int | None = None, request_timeout: float | None = None) -> Sandbox:
        """Resume this sandbox if it is paused, and let it live for so many seconds from now."""
        if isinstance(self._parts.owner, Controlled):
            parts = connected(self.sandbox_id, self.connection_config, timeout, request_timeout)
            self._wire.close()
            self._set_up(parts)
        return self

    @classmethod
    def _connect_by_id(
        cls,
        /,
        sandbox_id: str,
        api_key: str | None = None,
        domain: str | None = None,
        debug: bool | None = None,
        connection_config: ConnectionConfig | None = None,
        *,
        timeout: int | None = None,
        **opts: Unpack[ConnectionOpts],
    ) -> Sandbox:
        """Use a sandbox that was made before; one that is paused is resumed."""
        config = ConnectionConfig.of(connection_config, api_key, domain, debug, opts)
        return cls._of(connected(sandbox_id, config, timeout, opts.get("request_timeout")))

    connect = HybridMethod(_connect, _connect_by_id)

    def pause(self, request_timeout: float | None = None) -> bool:
        """Put the sandbox to sleep; `connect` wakes it. False if it was asleep."""
        return self._parts.owner.pause(request_timeout)

    def get_metrics(self, request_timeout: float | None = None) -> Metrics:
        """What it used, oldest first."""
        return self._parts.owner.get_metrics(request_timeout)

    def get_host(self, port: int) -> str:
        """The name under which a port of the sandbox can be reached."""
        return self.connection_config.get_host(self.sandbox_id, self._parts.domain, port)

    def download_url(
        self, path: SandboxPath, user: Username | None = None, use_signature_expiration: int | None = None
    ) -> str:
        """A link to read a file. With an access token it is signed, and may expire after so many seconds."""
        where = self._parts.address
        return file_url(where.url, path, "read", user, where.token, use_signature_expiration)

    def upload_url(
        self, path: SandboxPath = "", user: Username | None = None, use_signature_expiration: int | None = None
    ) -> str:
        """A link to write a file, by POST; without a path, any."""
        where = self._parts.address
        return file_url(where.url, path, "write", user, where.token, use_signature_expiration)

    def close(self) -> None:
        """Close the connection. The sandbox, and a daemon of `local`, go on until `kill`."""
        self._wire.close()

    def __enter__(self) -> Self:
        if "_parts" not in vars(self):
            self._make()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._wire.close()
        finally:
            self._parts.owner.leave()

    def _make(self) -> None:
        # Of this class, so what is private there is private here.
        made = type(self).create(**self._options)
        self._set_up(made._parts)

    @classmethod
    def _of(cls, parts: Parts) -> Self:
        sandbox = cls.__new__(cls)
        sandbox._set_up(parts)
        return sandbox

    def _set_up(self, parts: Parts) -> None:
        self._parts = parts
        self._wire = Wire(parts.address)
        self._calls = Calls(
            self._wire,
            request_timeout_s=parts.config.request_timeout,
            patience_s=parts.config.reconnect_timeout,
            # A daemon of one's own ends when nobody has its owner any more.
            needed=parts.owner,
        )
        self._files = Filesystem(self._calls)
        self._commands = Commands(self._calls)
        self._pty = Pty(self._calls)
