"""What a browser sends for a page of somebody else, to a daemon without an access token: nothing of it gets through."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.connect import frame
from tests.support.daemon import Daemon
from tests.support.grpc import rpc_error
from tests.support.http1 import Response, connection, exchange, request
from tests.support.system import post_init

EVIL = "https://evil.example"
ALLOWED = "https://app.example"
JSON = {"Content-Type": "application/json"}
STREAM = {"Content-Type": "application/connect+json"}
START = "/process.Process/Start"


@pytest.fixture(scope="module")
def open_daemon() -> Iterator[Daemon]:
    """On the loopback, without a token; one page may call it, and it has one more name."""
    started = Daemon.start(
        *("--port", "0", "--listen", "127.0.0.1", "--allow-origin", ALLOWED, "--allow-host", "box.example"),
        *("--allow-host", "*.boxes.example"),
    )
    yield started
    started.stop()


def refused(response: Response) -> bool:
    """A refusal that says what to do, and that the page cannot read."""
    text = response.body.decode(errors="replace")
    if response.status != 403 and '"code":"permission_denied"' not in text:
        return False
    assert "access token" in text
    assert "--access-token-file" in text
    assert "Access-Control-Allow-Origin" not in response.headers
    return True


def touching(path: Path) -> bytes:
    return frame(b'{"process": {"cmd": "touch", "args": ["%s"]}}' % str(path).encode())


FOREIGN = {
    "another site": {"Origin": EVIL},
    "the same name in TLS": {"Origin": "https://127.0.0.1:PORT"},
    "another port of this machine": {"Origin": "http://127.0.0.1:3000"},
    "another name of this machine": {"Origin": "http://localhost:PORT"},
    "no port": {"Origin": "http://127.0.0.1"},
    "a sandboxed frame": {"Origin": "null"},
    "an empty origin": {"Origin": ""},
    "a name that begins alike": {"Origin": "http://127.0.0.1:PORT.evil.example"},
    "two origins": {"Origin": f"{ALLOWED}, {EVIL}"},
    "no origin, cross-site": {"Sec-Fetch-Site": "cross-site"},
    "no origin, same-site": {"Sec-Fetch-Site": "same-site"},
}


def told(headers: dict[str, str], port: int) -> dict[str, str]:
    filled = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
    return {"Host": f"127.0.0.1:{port}", **filled}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_no_page_of_others_starts_a_program(open_daemon: Daemon, headers: dict[str, str], tmp_path: Path):
    response = await exchange(
        open_daemon.port,
        "POST",
        START,
        headers={**told(headers, open_daemon.port), **STREAM},
        body=touching(tmp_path / "x"),
    )
    assert refused(response)
    assert not (tmp_path / "x").exists()


KINDS = {
    "a preflight": ("OPTIONS", START, {"Access-Control-Request-Method": "POST"}),
    "reading a file": ("GET", "/files?path=/etc/hostname", {}),
    "looking at a file": ("HEAD", "/files?path=/etc/hostname", {}),
    "setting a token": ("POST", "/init", JSON),
    "health": ("GET", "/health", {}),
    "gRPC-Web": ("POST", "/process.Process/List", {"Content-Type": "application/grpc-web+proto"}),
    "a WebSocket": ("GET", "/health", {"Upgrade": "websocket", "Connection": "Upgrade"}),
    "nothing that is there": ("DELETE", "/nowhere", {}),
    "plain text without a preflight": ("POST", "/process.Process/List", {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize(("method", "path", "headers"), KINDS.values(), ids=KINDS)
async def test_no_kind_of_request_of_another_page_is_served(open_daemon: Daemon, method: str, path: str, headers: dict):
    body = b"{}" if method == "POST" else None
    response = await exchange(open_daemon.port, method, path, headers={**headers, "Origin": EVIL}, body=body)
    assert response.status == (200 if path.endswith("List") and "grpc" in str(headers) else 403)
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_form_of_another_page_writes_no_file(open_daemon: Daemon, tmp_path: Path):
    form = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nowned\r\n--B--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=B", "Origin": EVIL}
    response = await exchange(open_daemon.port, "POST", f"/files?path={tmp_path}/x", headers=headers, body=form)
    assert refused(response)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "host",
    [
        "rebound.evil.example:1234",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "boxes.example.evil.example",
        "localhost@evil.example",
        "10.0.0.1",
        "[2001:db8::1]:49983",
        "localhost, evil.example",
    ],
)
async def test_a_name_that_is_not_the_loopbacks_is_refused(open_daemon: Daemon, host: str):
    assert refused(await exchange(open_daemon.port, "GET", "/files?path=/etc/hostname", headers={"Host": host}))


@pytest.mark.parametrize(
    ("host", "name"), [("[2001:db8::1]:49983", "[2001:db8::1]"), ("evil.example:80", "evil.example")]
)
async def test_a_refusal_says_how_to_allow_the_name(open_daemon: Daemon, host: str, name: str):
    response = await exchange(open_daemon.port, "GET", "/metrics", headers={"Host": host})
    assert json.loads(response.body)["message"].endswith(f"start it with --allow-host {name}")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost@evil.example"},
        {"Host": "localhost, evil.example"},
        {"Host": "localhost", "Origin": "null"},
        {"Host": "localhost", "Origin": ""},
        {"Host": "localhost", "Origin": f"{ALLOWED}, {EVIL}"},
    ],
)
async def test_a_refusal_names_no_option_that_the_command_refuses(open_daemon: Daemon, headers: dict[str, str]):
    response = await exchange(open_daemon.port, "GET", "/metrics", headers=headers)
    assert refused(response)
    assert b"start it with" not in response.body


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:49983",
        "localhost.",
        "sub.localhost:1",
        "127.0.0.1:49983",
        "127.9.9.9",
        "[::1]:49983",
        "[::ffff:127.0.0.1]",
        "box.example:80",
        "a.boxes.example",
    ],
)
async def test_names_of_the_loopback_and_listed_ones_are_served(open_daemon: Daemon, host: str):
    assert (await exchange(open_daemon.port, "GET", "/health", headers={"Host": host})).status == 204


async def test_an_absolute_target_names_the_host_too(open_daemon: Daemon):
    foreign = await exchange(open_daemon.port, "GET", "http://evil.example/health")
    assert refused(foreign)
    assert (await exchange(open_daemon.port, "GET", "http://localhost:49983/health")).status == 204


async def test_a_client_that_names_no_host_is_no_browser(open_daemon: Daemon):
    async with connection(open_daemon.port) as conn:
        await conn.send(b"GET /health HTTP/1.0\r\n\r\n")
        assert (await conn.read_response()).status == 204


OWN = {
    "its own page": {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "a page that is listed": {"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"},
    "its own page, under a listed name": {"Origin": "http://box.example:80", "Host": "box.example:80"},
}


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN)
async def test_pages_that_may_are_served(open_daemon: Daemon, headers: dict[str, str]):
    response = await exchange(open_daemon.port, "GET", "/health", headers=told(headers, open_daemon.port))
    assert response.status == 204


async def test_a_listed_page_gets_its_preflight(open_daemon: Daemon):
    headers = {"Origin": ALLOWED, "Access-Control-Request-Method": "POST"}
    response = await exchange(open_daemon.port, "OPTIONS", START, headers=headers)
    assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, "*")


async def test_with_a_token_every_page_may_call_that_knows_it():
    with_token = Daemon.start()
    try:
        headers = {"Origin": EVIL, "Host": "49983-box.example"}
        assert (await exchange(with_token.port, "GET", "/envs", headers=headers)).status == 403
        assert (await post_init(with_token.port, {"accessToken": "secret"})).status == 204
        assert (await exchange(with_token.port, "GET", "/envs", headers=headers)).status == 401
        response = await exchange(with_token.port, "GET", "/envs", headers={**headers, "X-Access-Token": "secret"})
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, "*")
    finally:
        with_token.stop()


async def test_behind_a_proxy_names_are_the_proxys_but_pages_of_others_stay_out():
    networked = Daemon.start("--port", "0", "--listen", "0.0.0.0")
    try:
        named = {"Host": "49983-box.example"}
        assert (await exchange(networked.port, "GET", "/health", headers=named)).status == 204
        assert refused(await exchange(networked.port, "GET", "/health", headers={**named, "Origin": EVIL}))
        same = {**named, "Origin": "http://49983-box.example"}  # after DNS rebinding both are the attacker's
        assert refused(await exchange(networked.port, "GET", "/health", headers=same))
    finally:
        networked.stop()


@pytest.mark.parametrize("metadata", [("origin", EVIL), ("sec-fetch-site", "cross-site")])
@pytest.mark.parametrize("method", ["process.Process/List", "system.System/Info", "grpc.health.v1.Health/Check"])
async def test_native_grpc_is_refused_as_well(open_daemon: Daemon, metadata: tuple[str, str], method: str):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{open_daemon.port}") as channel:
        with pytest.raises(grpc.RpcError) as error:
            await channel.unary_unary(f"/{method}")(b"", metadata=[metadata])
        assert rpc_error(error.value).code == "permission_denied"
        await channel.unary_unary(f"/{method}")(b"", metadata=[("origin", ALLOWED)])


def test_a_unix_socket_is_no_browsers(tmp_path: Path):
    path = tmp_path / "socket"
    started = Daemon.start("--listen", f"unix:{path}")
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(request("GET", "/health", headers={"Host": "anything", "Connection": "close"}))
            assert sock.recv(64).startswith(b"HTTP/1.1 204 ")
    finally:
        started.stop()
