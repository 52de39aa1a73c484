"""REST routes about the machine and the daemon itself."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from envd.errors import Code, EnvdError
from envd.host.init import Init, InitSettings, check_token
from envd.host.metrics import Meter
from envd.host.session import Session
from envd.web import Body, Headers, Reply, Request, Response, Route

from . import messages

_NO_STORE = ("Cache-Control", "no-store")
_HEALTHY = Response(204, (_NO_STORE, ("Content-Type", "")))
_NOT_MEASURED = Response(500, (_NO_STORE,))
_JSON = ("Content-Type", "application/json")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_PIECE_BYTES = 64 * 1024
_AT_ONCE_BYTES = 16 * 1024


class Sandbox:
    """Serves the routes.

    Args:
        version: what every answer of /init names.
        init_bytes: the largest body of /init; decoding it holds the loop.
    """

    def __init__(self, session: Session, initialiser: Init, meter: Meter, *, version: str, init_bytes: int) -> None:
        self._session = session
        self._initialiser = initialiser
        self._meter = meter
        self._always: Headers = (("X-Envd-Version", version), _NO_STORE)
        self._init_bytes = init_bytes
        # One thread, not one per body: those whose caller is gone run on, and what is decoded takes much more memory
        # than its text. The caller need not have shown a token yet.
        self._apart = ThreadPoolExecutor(1, thread_name_prefix="init")

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("GET", "/health", self._health),
            Route("GET", "/envs", self._envs),
            Route("GET", "/metrics", self._metrics),
            Route("POST", "/init", self._init),
        ]

    async def _health(self, _: Request, __: Reply) -> Response:
        return _HEALTHY

    async def _envs(self, _: Request, __: Reply) -> Response:
        return _json(dict(sorted(self._session.environment.items())))

    async def _metrics(self, _: Request, __: Reply) -> Response:
        try:
            usage = await self._meter.measure()
        except EnvdError:
            return _NOT_MEASURED
        return _json(messages.json_from_usage(usage))

    async def _init(self, request: Request, _: Reply) -> Response:
        try:
            data = await _read(request.body, self._init_bytes)
        except EnvdError:
            return Response(400, self._always)
        if data is None:
            return self._refusal(413, f"the body of /init may have {self._init_bytes} bytes")
        try:
            settings = await self._decoded(data)
        except (ValueError, TypeError, EnvdError):
            return Response(400, self._always)
        try:
            await self._initialiser.apply(settings)
        except EnvdError as exc:
            return self._refusal(_STATUS.get(exc.code, 500), exc.message)
        return Response(204, self._always)

    async def _decoded(self, data: bytes) -> InitSettings:
        """Decode a body; much of it apart from the loop, and one at a time."""
        if len(data) <= _AT_ONCE_BYTES:
            return _settings(data)
        return await asyncio.get_running_loop().run_in_executor(self._apart, _settings, data)

    def _refusal(self, status: int, message: str) -> Response:
        return Response(status, (_TEXT, *self._always), message.encode())


# Clients of the reference expect text here, not an error in JSON.
_STATUS = {
    Code.UNAUTHENTICATED: 401,
    Code.INVALID_ARGUMENT: 400,
    Code.RESOURCE_EXHAUSTED: 507,
    Code.UNAVAILABLE: 503,
}


def _settings(data: bytes) -> InitSettings:
    settings = messages.settings_from_json(data)
    if settings.token is not None:
        check_token(settings.token)
    return settings


async def _read(body: Body, size: int) -> bytes | None:
    """Return a whole body, None if it is larger than `size`."""
    if (body.length or 0) > size:
        return None
    parts: list[bytes] = []
    while part := await body.read(_PIECE_BYTES):
        parts.append(part)
        size -= len(part)
        if size < 0:
            return None
    return b"".join(parts)


def _json(value: object) -> Response:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Response(200, (_JSON, _NO_STORE), f"{text}\n".encode())
