"""REST routes about files."""

from __future__ import annotations

import asyncio

from envd.errors import Code, EnvdError, readable
from envd.filesystem.caller import Callers
from envd.filesystem.compose import compose
from envd.filesystem.threads import Threads
from envd.filesystem.writing.target import WriteOptions
from envd.filesystem.writing.temporary import Temporaries
from envd.web import Reply, Request, Response, Route

from .addresses import percent_decoded
from .answers import AT_ONCE_BYTES, done, from_json, path_fields, small_body
from .downloading import Download
from .uploading import UploadHandler

_COMPOSE_BYTES = 4 * 1024 * 1024


def routes(callers: Callers, threads: Threads, temporaries: Temporaries, *, idle_s: float) -> list[Route]:
    """Return the routes; a download ends if its client takes nothing for `idle_s`."""
    download, upload = Download(callers, threads, idle_s), UploadHandler(callers, threads, temporaries)
    return [
        Route("GET", "/files", download.handle),
        Route("HEAD", "/files", download.handle),
        Route("POST", "/files", upload.handle),
        Route("POST", "/files/compose", _Compose(callers, threads, temporaries).handle),
    ]


class _Compose:
    """Serves POST /files/compose."""

    def __init__(self, callers: Callers, threads: Threads, temporaries: Temporaries) -> None:
        self._callers = callers
        self._threads = threads
        self._temporaries = temporaries

    async def handle(self, request: Request, _: Reply) -> Response:
        body = await small_body(request, _COMPOSE_BYTES)
        large = len(body) > AT_ONCE_BYTES
        sources, destination, username = await asyncio.to_thread(_wish, body) if large else _wish(body)
        caller = await self._callers.load(username)
        target = await caller.path(destination, self._threads, doing="error resolving destination path")
        paths = [
            await caller.path(source, self._threads, doing=f'error resolving source path "{source}"')
            for source in sources
        ]
        threads = self._threads.at(target, *paths)
        intent = WriteOptions(caller.user, helped=caller.helped)
        remaining = await threads.settle(compose, paths, target, intent, self._temporaries)
        path = path_fields(target)
        fields: dict[str, object] = {"name": path["name"]}
        if remaining:
            fields["not_removed"] = [{"error": source.why, "path": readable(source.path)} for source in remaining]
        return done({**fields, **path, "type": "file"})


def _wish(body: bytes) -> tuple[list[str], str, str | None]:
    """Read the body: sources, destination, user."""
    try:
        fields = from_json(body)
    except ValueError as exc:
        raise _invalid(f"invalid request body: {exc}") from exc
    if not isinstance(fields, dict):
        raise _invalid("invalid request body: not an object")
    sources, destination, username = (fields.get(name) for name in ("source_paths", "destination", "username"))
    if not sources:
        raise _invalid("source_paths must not be empty")
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise _invalid("invalid request body: source_paths is no list of strings")
    if not destination:
        raise _invalid("destination is required")
    if not isinstance(destination, str) or not isinstance(username, str | None):
        raise _invalid("invalid request body: destination and username are strings")
    if fields.get("percent_encoded") is True:
        return [percent_decoded(source) for source in sources], percent_decoded(destination), username
    return sources, destination, username


def _invalid(message: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, message)
