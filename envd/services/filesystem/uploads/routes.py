"""The REST half of uploads, under /files/uploads."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import parse_qsl

from envd.errors import Code, EnvdError
from envd.filesystem.caller import Caller, Callers, check_path
from envd.filesystem.entries import ConditionError
from envd.filesystem.threads import Threads
from envd.filesystem.uploads.table import UploadTable
from envd.filesystem.uploads.upload import MultipartUpload
from envd.services.filesystem.rest.addresses import address_from_query
from envd.services.filesystem.rest.answers import done, path_fields, refused, small_body, to_json
from envd.web import Headers, Reply, Request, Response, Route

from . import request_parsing

_PIECE_BYTES = 1024 * 1024
_RANGES_AT_ONCE = 500
_PAGE_UPLOADS = 100
_BODY_BYTES = 64 * 1024
_NO_STORE = ("Cache-Control", "no-store")
_JSON = ("Content-Type", "application/json; charset=utf-8")

Handle = Callable[[Request, Caller], Awaitable[Response]]


def routes(uploads: UploadTable, callers: Callers, threads: Threads) -> list[Route]:
    """Return the routes."""
    rest = _Rest(uploads, threads)
    one = "/files/uploads/{id}"

    def route(method: str, path: str, handle: Handle) -> Route:
        async def answer(request: Request, _: Reply) -> Response:
            name = address_from_query(request.query).username
            try:
                caller = await callers.load(request.username if name is None else name)
                return await handle(request, caller)
            except EnvdError as exc:
                return _refusal(exc)

        return Route(method, path, answer)

    return [
        route("POST", "/files/uploads", rest.create),
        route("GET", "/files/uploads", rest.list),
        route("PUT", one, rest.put),
        route("GET", one, rest.get),
        route("HEAD", one, rest.head),
        route("DELETE", one, rest.delete),
        route("POST", f"{one}/commit", rest.commit),
    ]


def _refusal(exc: EnvdError) -> Response:
    """Return an error as REST has it, where it differs from the general table; raise it where it does not."""
    if isinstance(exc, ConditionError):
        return refused(412, exc.message)
    if exc.code is Code.DATA_LOSS:
        return refused(400, exc.message)  # what the client sent is not what it announced
    raise exc


class _Rest:
    """Serves them."""

    def __init__(self, uploads: UploadTable, threads: Threads) -> None:
        self._uploads = uploads
        self._threads = threads

    async def create(self, request: Request, caller: Caller) -> Response:
        """POST /files/uploads: begin one."""
        terms = request_parsing.terms_from(await small_body(request, _BODY_BYTES), caller)
        await check_path(terms.path, caller.user, self._threads)
        upload, existing = await self._uploads.create(terms, caller.user)
        headers = (_JSON, _NO_STORE, ("Location", f"/files/uploads/{upload.ident}"))
        return Response(200 if existing else 201, headers, to_json(self._fields(upload)))

    async def list(self, request: Request, caller: Caller) -> Response:
        """GET /files/uploads: the user's, a page of them."""
        after = dict(parse_qsl(request.query)).get("page_token", "")
        found = self._uploads.of(caller.user.name, after, _PAGE_UPLOADS + 1)
        fields: dict[str, object] = {"uploads": [self._fields(upload) for upload in found[:_PAGE_UPLOADS]]}
        if len(found) > _PAGE_UPLOADS:
            fields["next_page_token"] = found[_PAGE_UPLOADS - 1].ident
        return done(fields)

    async def put(self, request: Request, caller: Caller) -> Response:
        """PUT: a part."""
        upload = self._find(request, caller)
        start = request_parsing.start_from(request)
        async with self._uploads.part(upload, start) as part:
            while data := await request.body.read(_PIECE_BYTES):
                await part.put(data)
            length = await part.finish(self._uploads.config.ranges)
        received = {"received_bytes": upload.extents.total, "contiguous_bytes": upload.extents.contiguous}
        headers = (_JSON, _NO_STORE, *_progress(upload))
        return Response(200, headers, to_json({"offset": start.offset, "length": length, **received}))

    async def get(self, request: Request, caller: Caller) -> Response:
        """GET: what was received."""
        upload = self._find(request, caller)
        offset = request_parsing.number_in(dict(parse_qsl(request.query)), "offset", 0)
        runs = upload.extents.behind(offset, _RANGES_AT_ONCE + 1)
        fields = self._fields(upload)
        fields["received"] = [{"offset": begin, "length": end - begin} for begin, end in runs[:_RANGES_AT_ONCE]]
        if len(runs) > _RANGES_AT_ONCE:
            fields["next_offset"] = runs[_RANGES_AT_ONCE - 1][1]
        return Response(200, (_JSON, _NO_STORE, *_progress(upload)), to_json(fields))

    async def head(self, request: Request, caller: Caller) -> Response:
        """HEAD: how far it is, in the names of the IETF's draft of resumable uploads."""
        upload = self._find(request, caller)
        expires = formatdate(time.time() + self._uploads.expires_in(upload), usegmt=True)
        return Response(200, (_NO_STORE, *_progress(upload), ("Upload-Expires", expires)))

    async def commit(self, request: Request, caller: Caller) -> Response:
        """POST /commit: put it in place."""
        upload = self._find(request, caller)
        size, sha256 = request_parsing.commit_from(await small_body(request, _BODY_BYTES))
        placed = await self._uploads.commit(upload, caller.user, size, sha256)
        fields = {**path_fields(placed.path), "type": "file"}
        return done({**fields, "size": placed.size, "etag": placed.etag, "created": placed.created})

    async def delete(self, request: Request, caller: Caller) -> Response:
        """DELETE: end it."""
        await self._uploads.abort(self._find(request, caller))
        return Response(204)

    def _find(self, request: Request, caller: Caller) -> MultipartUpload:
        return self._uploads.find(request.parameters["id"], caller.user.name)

    def _fields(self, upload: MultipartUpload) -> dict[str, object]:
        state, extents = upload.state, upload.extents
        expires = datetime.fromtimestamp(time.time() + self._uploads.expires_in(upload), UTC)
        path = path_fields(state.terms.path)
        del path["name"]
        size = {} if state.terms.size is None else {"size": state.terms.size}
        return {
            "id": upload.ident,
            "state": "open" if state.committed is None else "committed",
            **path,
            **size,
            "received_bytes": extents.total,
            "contiguous_bytes": extents.contiguous,
            "parts_under_way": len(upload.parts),
            "expires_at": expires.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


def _progress(upload: MultipartUpload) -> Headers:
    size = upload.state.terms.size
    length = () if size is None else (("Upload-Length", str(size)),)
    complete = "?1" if upload.state.committed is not None else "?0"
    return (("Upload-Offset", str(upload.extents.contiguous)), *length, ("Upload-Complete", complete))
