"""Listener, routes outside the services, and CORS."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from envd.config import Limits
from tests.support.connect import basic
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import Response, connection, exchange, request


def is_plain_not_found(response: Response) -> bool:
    return (
        response.status == 404
        and response.body == b"404 page not found\n"
        and response.headers["Content-Type"] == "text/plain; charset=utf-8"
        and response.headers["X-Content-Type-Options"] == "nosniff"
    )


def unused_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def skip_if_taken(port: int) -> None:
    """Skip if something on this machine listens there already."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            pytest.skip(f"port {port} is in use on this machine")


@pytest.mark.line(1)
async def test_the_default_port_is_49983():
    skip_if_taken(49983)
    async with running_daemon("--listen", "127.0.0.1") as daemon:
        assert daemon.ready["addresses"] == ["127.0.0.1:49983"]
        assert (await exchange(49983, "GET", "/health")).status == 204


@pytest.mark.line(1)
@pytest.mark.parametrize("flag", ["-port", "--port"])
async def test_the_port_can_be_given_with_one_dash_or_two(flag):
    port = unused_port()
    async with running_daemon(flag, str(port), "--listen", "127.0.0.1") as daemon:
        assert daemon.port == port
        assert (await exchange(port, "GET", "/health")).status == 204


async def test_the_readiness_line_names_version_addresses_and_pid(daemon: Daemon):
    assert set(daemon.ready) == {"version", "addresses", "pid"}
    assert daemon.ready["pid"] == daemon.pid


@pytest.mark.line(2)
async def test_health_is_an_empty_204_that_is_not_stored(daemon: Daemon):
    response = await exchange(daemon.port, "GET", "/health")
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.line(3)
async def test_head_is_not_allowed_on_health(daemon: Daemon):
    assert (await exchange(daemon.port, "HEAD", "/health")).status == 405


@pytest.mark.line(4)
async def test_the_wrong_method_on_health_is_told_the_right_one(daemon: Daemon):
    response = await exchange(daemon.port, "POST", "/health", body=b"")
    assert (response.status, response.headers["Allow"], response.body) == (405, "GET", b"")


@pytest.mark.line(5)
async def test_an_unknown_path_is_a_plain_404(daemon: Daemon):
    assert is_plain_not_found(await exchange(daemon.port, "GET", "/nope"))


@pytest.mark.line(6)
async def test_a_trailing_slash_is_another_path(daemon: Daemon):
    assert is_plain_not_found(await exchange(daemon.port, "GET", "/health/"))


@pytest.mark.line(7)
@pytest.mark.parametrize("path", ["/filesystem.Filesystem/Nope", "/process.Process/Nope", "/no.Service/List"])
async def test_an_unknown_method_is_a_plain_404_and_no_connect_error(daemon: Daemon, path):
    headers = {"Content-Type": "application/json"}
    assert is_plain_not_found(await exchange(daemon.port, "POST", path, headers=headers, body=b"{}"))


@pytest.mark.line(8)
@pytest.mark.parametrize("path", ["/process.Process/List", "/process.Process/Start"])
async def test_get_on_a_method_is_told_to_post(daemon: Daemon, path):
    response = await exchange(daemon.port, "GET", path)
    assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_the_query_is_no_part_of_the_path(daemon: Daemon):
    assert (await exchange(daemon.port, "GET", "/health?probe=1")).status == 204


@pytest.mark.line(36)
async def test_a_preflight_allows_what_it_asks_for(daemon: Daemon):
    wanted = {
        "Origin": "https://example.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "connect-protocol-version,x-own",
    }
    response = await exchange(daemon.port, "OPTIONS", "/process.Process/Start", headers=wanted)
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Allow-Methods"] == "POST"
    assert response.headers["Access-Control-Allow-Headers"] == "connect-protocol-version,x-own"
    assert response.headers["Access-Control-Max-Age"] == "7200"
    vary = {name.strip() for name in response.headers["Vary"].split(",")}
    assert vary == {"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}


@pytest.mark.line(36)
async def test_a_preflight_is_answered_before_anyone_asks_who_it_is(daemon: Daemon):
    wanted = {"Origin": "https://example.test", "Access-Control-Request-Method": "GET", **basic("no-such-user")}
    assert (await exchange(daemon.port, "OPTIONS", "/health", headers=wanted)).status == 204


async def test_a_preflight_without_an_origin_allows_nothing(daemon: Daemon):
    response = await exchange(daemon.port, "OPTIONS", "/health", headers={"Access-Control-Request-Method": "GET"})
    assert response.status == 204
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Origin" in response.headers["Vary"]


async def test_options_that_is_no_preflight_is_not_allowed(daemon: Daemon):
    assert (await exchange(daemon.port, "OPTIONS", "/health")).status == 405


@pytest.mark.line(37)
async def test_a_request_with_an_origin_may_be_read_by_its_page(daemon: Daemon):
    response = await exchange(daemon.port, "GET", "/health", headers={"Origin": "https://example.test"})
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    exposed = [name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")]
    assert exposed[:3] == ["Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"]
    assert {"Location", "Cache-Control", "X-Content-Type-Options"} <= set(exposed)


@pytest.mark.line(37)
async def test_a_request_without_an_origin_only_says_that_it_would_matter(daemon: Daemon):
    response = await exchange(daemon.port, "GET", "/health")
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Origin" in response.headers["Vary"]


@pytest.mark.line(38)
def test_an_idle_connection_is_kept_for_at_least_ten_minutes():
    assert Limits().idle_s >= 600


@pytest.mark.line(38)
async def test_a_connection_is_kept_between_requests(daemon: Daemon):
    async with connection(daemon.port) as conn:
        for _ in range(3):
            await conn.send(request("GET", "/health"))
            assert (await conn.read_response()).status == 204


async def test_the_daemon_listens_on_a_unix_socket_too(tmp_path):
    path = str(tmp_path / "envd.sock")
    async with running_daemon("--listen", f"unix:{path}") as daemon:
        assert daemon.ready["addresses"] == [f"unix:{path}"]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(path)
            sock.sendall(request("GET", "/health"))
            assert sock.recv(4096).startswith(b"HTTP/1.1 204 ")
    assert not os.path.exists(path)
