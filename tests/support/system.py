"""The sandbox as a whole: the System service over any wire, and its twins in REST."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envd_proto.system.system_pb2 import (
    EnvsRequest,
    EnvsResponse,
    InfoRequest,
    InfoResponse,
    InitRequest,
    InitResponse,
    MetricsRequest,
    MetricsResponse,
)
from tests.support.http1 import Response, exchange
from tests.support.wires import Wire

INFO = "system.System/Info"
INIT = "system.System/Init"
METRICS = "system.System/Metrics"
ENVS = "system.System/Envs"
FREEZE = "system.System/Freeze"
THAW = "system.System/Thaw"

REFUSED = "unauthorized access, please provide a valid access token or method signing if supported"


def token_header(token: str) -> dict[str, str]:
    return {"X-Access-Token": token}


def init_request(
    *,
    token: str | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: int | None = None,
    nanos: int = 0,
    default_user: str = "",
    default_workdir: str = "",
) -> InitRequest:
    """An InitRequest; what is not given stays absent."""
    request = InitRequest(access_token=token, default_user=default_user, default_workdir=default_workdir)
    if variables is not None:
        request.env_vars.SetInParent()
        request.env_vars.values.update(variables)
    if seconds is not None:
        request.timestamp.seconds, request.timestamp.nanos = seconds, nanos
    return request


@dataclass(frozen=True, slots=True)
class System:
    """System over one wire; with a token, it goes with every call."""

    wire: Wire

    def with_token(self, token: str) -> System:
        return System(self.wire.with_headers(token_header(token)))

    async def info(self) -> InfoResponse:
        return await self.wire.unary(INFO, InfoRequest(), InfoResponse)

    async def init(self, **given: Any) -> InitResponse:
        """Arguments as for `init_request`."""
        return await self.wire.unary(INIT, init_request(**given), InitResponse)

    async def metrics(self) -> MetricsResponse:
        return await self.wire.unary(METRICS, MetricsRequest(), MetricsResponse)

    async def envs(self) -> dict[str, str]:
        return dict((await self.wire.unary(ENVS, EnvsRequest(), EnvsResponse)).envs)


async def post_init(port: int, fields: object = None, *, body: bytes | None = None) -> Response:
    """POST /init with an object as JSON, or with any bytes."""
    data = body if body is not None else json.dumps(fields).encode() if fields is not None else b""
    return await exchange(port, "POST", "/init", body=data)


async def get_json(port: int, path: str, token: str | None = None) -> Any:
    """The answer of a route that answers 200 with JSON."""
    response = await exchange(port, "GET", path, headers={} if token is None else token_header(token))
    assert response.status == 200, response
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    return json.loads(response.body)
