"""Functions that ask a control plane for a sandbox."""

from __future__ import annotations

from envd_sdk._async.api_client import AsyncApiClient
from envd_sdk._async.lifecycle_owners import AsyncControlled, AsyncParts, AsyncUnowned
from envd_sdk.client import models
from envd_sdk.connection_config import ConnectionConfig
from envd_sdk.exceptions import TemplateException
from envd_sdk.versions import too_old

# Seconds a sandbox lives unless it is told otherwise.
DEFAULT_SANDBOX_TIMEOUT = 300
_DEBUG_ID = "debug_sandbox_id"


async def created(config: ConnectionConfig, request: models.NewSandbox) -> AsyncParts:
    """Make a sandbox; in debug mode, take the daemon on this machine for one.

    Raises:
        TemplateException: its daemon is too old.
    """
    if config.debug:
        return _debugged(config, _DEBUG_ID)
    async with AsyncApiClient(config) as api:
        sandbox = await api.post_sandboxes(request)
        if too_old(sandbox.envd_version):
            await api.delete_sandboxes_sandbox_id(sandbox.sandbox_id)
            raise TemplateException(
                f"the daemon of template {request.template_id} is of version {sandbox.envd_version}, which is too old: "
                "build the template anew"
            )
    return _parts(config, sandbox)


async def connected(
    sandbox_id: str, config: ConnectionConfig, timeout: int | None, request_timeout: float | None
) -> AsyncParts:
    """A sandbox that was made before.

    Raises:
        SandboxNotFoundException: there is none by that id.
    """
    if config.debug:
        return _debugged(config, sandbox_id)
    lives_s = DEFAULT_SANDBOX_TIMEOUT if timeout is None else timeout
    async with AsyncApiClient(config) as api:
        sandbox = await api.post_sandboxes_sandbox_id_connect(sandbox_id, lives_s, timeout_s=request_timeout)
    return _parts(config, sandbox)


def _parts(config: ConnectionConfig, sandbox: models.Sandbox) -> AsyncParts:
    address = config.address(sandbox.sandbox_id, sandbox.domain, sandbox.envd_access_token)
    owner = AsyncControlled(sandbox.sandbox_id, config)
    return AsyncParts(sandbox.sandbox_id, address, config, owner, sandbox.envd_version, sandbox.domain)


def _debugged(config: ConnectionConfig, sandbox_id: str) -> AsyncParts:
    owner = AsyncUnowned(sandbox_id, debug=True)
    return AsyncParts(sandbox_id, config.address(sandbox_id, None, None), config, owner)
