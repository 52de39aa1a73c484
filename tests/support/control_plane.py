"""A small control plane: the endpoints the SDK calls, over sandboxes that are nothing but entries in a table."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

API_KEY = "e2b_0123456789abcdef"
STARTED_AT = "2026-01-02T03:04:05.678901Z"
END_AT = "2026-01-02T03:09:05Z"

# Status, JSON body or None, headers.
Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Fake:
    """What it knows, what it was asked, and what it is told to answer next.

    Attributes:
        token: access token of every sandbox's daemon, or None.
        requests: method, path, query and body of each request, in order.
        refusals: answers given before anything else, first come, first served.
    """

    url: str = ""
    token: str | None = None
    envd_version: str = "0.6.13"
    sandboxes: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refusals: list[Answer] = field(default_factory=list)

    def answer(self, method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.requests.append((method, parts.path, query, body))
        self.headers.append(headers)
        if self.refusals:
            return self.refusals.pop(0)
        if headers.get("x-api-key") != API_KEY and headers.get("authorization") != "Bearer a-token":
            return 401, {"code": 401, "message": "Invalid API key"}, {}
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
        if steps[:1] == ["v2"]:
            return self._page(query)
        if steps[0] != "sandboxes":
            return _elsewhere(steps[0], method)
        return self._sandboxes(method, steps[1:], query, body)

    def _page(self, query: dict[str, str]) -> Answer:
        wanted = dict(parse_qsl(query.get("metadata", "")))
        states = query.get("state", "running,paused").split(",")
        found = [
            one
            for one in self.sandboxes.values()
            if one["state"] in states and wanted.items() <= one["metadata"].items()
        ]
        begin, limit = int(query.get("nextToken", 0)), int(query.get("limit", 100))
        more = {"x-next-token": str(begin + limit)} if begin + limit < len(found) else {}
        return 200, found[begin : begin + limit], more

    def _sandboxes(self, method: str, steps: list[str], query: dict[str, str], body: Any) -> Answer:
        if steps in ([], ["metrics"]):
            return self._create(body) if method == "POST" else self._page({**query, "state": "running"})
        found = self.sandboxes.get(steps[0])
        if found is None:
            return 404, {"code": 404, "message": f"sandbox {steps[0]} not found"}, {}
        verb: Callable[[], Answer] = {
            "GET": lambda: (200, found, {}),
            "DELETE": lambda: (204, None, {}) if self.sandboxes.pop(steps[0]) else (404, None, {}),
            "POST/timeout": lambda: (204, found.update(timeout=body["timeout"]), {}),
            "POST/refreshes": lambda: (204, None, {}),
            "POST/connect": lambda: (200, _running(found, body["timeout"]), {}),
            "POST/resume": lambda: (201, _running(found, body.get("timeout")), {}),
            "POST/pause": lambda: _pause(found),
            "GET/logs": lambda: (200, {"logs": [{"timestamp": STARTED_AT, "line": "hello"}]}, {}),
            "GET/metrics": lambda: (200, [_METRIC], {}),
        }["/".join([method, *steps[1:]])]
        return verb()

    def _create(self, body: Any) -> Answer:
        name = f"sbx{len(self.sandboxes)}"
        made = {
            "sandboxID": name,
            "templateID": body["templateID"],
            "clientID": "client",
            "envdVersion": self.envd_version,
            "envdAccessToken": self.token,
            "domain": None,
            "alias": "the-alias",
            "metadata": body.get("metadata") or {},
            "startedAt": STARTED_AT,
            "endAt": END_AT,
            "state": "running",
            "cpuCount": 2,
            "memoryMB": 512,
            "diskSizeMB": 1024,
            "timeout": body.get("timeout"),
        }
        self.sandboxes[name] = made
        return 201, made, {}


_METRIC = {
    "timestamp": STARTED_AT,
    "cpuCount": 2,
    "cpuUsedPct": 12.5,
    "memUsed": 1 << 20,
    "memTotal": 1 << 30,
    "diskUsed": 5,
    "diskTotal": 10,
}
_TEMPLATE = {"templateID": "base", "buildID": "b1", "cpuCount": 2, "memoryMB": 512, "public": True, "aliases": ["base"]}


def _elsewhere(what: str, method: str) -> Answer:
    answers: dict[str, Answer] = {
        "health": (200, {}, {}),
        "teams": (200, [{"teamID": "t1", "name": "team", "apiKey": API_KEY, "isDefault": True}], {}),
        "templates": (200, [_TEMPLATE], {}) if method == "GET" else (202, _TEMPLATE, {}),
    }
    return answers.get(what, (404, {"code": 404, "message": "no such page"}, {}))


def _running(found: dict[str, Any], timeout: int | None) -> dict[str, Any]:
    found.update(state="running", timeout=timeout)
    return found


def _pause(found: dict[str, Any]) -> Answer:
    if found["state"] == "paused":
        return 409, {"code": 409, "message": "already paused"}, {}
    found["state"] = "paused"
    return 204, None, {}


@contextmanager
def control_plane() -> Iterator[Fake]:
    """One that answers on a port of its own until the end of the block."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            names = {name.lower(): value for name, value in self.headers.items()}
            status, found, headers = fake.answer(self.command, self.path, names, body)
            content = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _any  # noqa: N815 - names of http.server

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
