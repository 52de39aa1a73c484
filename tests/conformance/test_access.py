"""The access token on every wire: what needs it, what does not, and how a refusal looks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from envd_proto.process.process_pb2 import ListRequest
from envd_proto.pty.pty_pb2 import OpenRequest
from tests.support.connect import basic, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.grpc import Grpc, answered, rpc_error
from tests.support.http1 import Response, connection, exchange, request
from tests.support.http2 import Http2
from tests.support.process import LIST, START, STREAM_INPUT, Processes, pid, shell, start_request
from tests.support.system import INFO, INIT, REFUSED, System, get_json, post_init, token_header
from tests.support.wires import OpenWire, RpcError, Wire

pytestmark = pytest.mark.every_wire

TOKEN = "t0ken-of-the-sandbox"
WRONG = ["nope", "", TOKEN[:-1], TOKEN.upper(), f"{TOKEN}x"]
HEALTH = "grpc.health.v1.Health/Check"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

UNARY_TYPES = ["application/json", "application/proto", "application/grpc-web+proto", "application/grpc-web+json"]
STREAM_TYPES = ["application/connect+json", "application/connect+proto", "application/grpc-web+proto"]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Daemon]:
    """A daemon whose token is TOKEN."""
    started = Daemon.start()
    yield started
    started.stop()
    assert not [line for line in started.stderr if '"level": "error"' in line]
    assert not [line for line in started.stderr if TOKEN in line]


@pytest.fixture(autouse=True)
async def token(guarded: Daemon) -> None:
    assert (await post_init(guarded.port, {"accessToken": TOKEN})).status == 204


@pytest.fixture
async def guarded_wire(guarded: Daemon, open_wire: OpenWire) -> AsyncIterator[Wire]:
    async with open_wire(guarded.port) as opened:
        yield opened


@pytest.fixture
async def native(guarded: Daemon) -> AsyncIterator[Grpc]:
    async with Grpc.open(guarded.port) as opened:
        yield opened


def assert_refused(response: Response) -> None:
    assert response.status == 401
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.body == json.dumps({"code": 401, "message": REFUSED}, separators=(",", ":")).encode() + b"\n"


@pytest.mark.line(50)
@pytest.mark.parametrize("method", [LIST, INFO])
@pytest.mark.parametrize("content_type", UNARY_TYPES)
async def test_a_unary_call_without_the_token_is_a_401_as_rest_has_it(guarded: Daemon, content_type, method):
    headers = {"Content-Type": content_type}
    assert_refused(await exchange(guarded.port, "POST", f"/{method}", headers=headers, body=b"{}"))


@pytest.mark.line(51)
@pytest.mark.parametrize("method", [START, STREAM_INPUT, "pty.Pty/Open"])
@pytest.mark.parametrize("content_type", STREAM_TYPES)
async def test_a_stream_without_the_token_is_a_401_and_no_200(guarded: Daemon, content_type, method):
    headers = {"Content-Type": content_type}
    assert_refused(await exchange(guarded.port, "POST", f"/{method}", headers=headers, body=frame(b"")))


@pytest.mark.line(50, 51)
@pytest.mark.parametrize("given", WRONG)
async def test_another_token_is_as_good_as_none(guarded: Daemon, given):
    headers = {"Content-Type": "application/json", **token_header(given)}
    assert_refused(await exchange(guarded.port, "POST", f"/{LIST}", headers=headers, body=b"{}"))


async def test_a_token_given_twice_is_none(guarded: Daemon):
    head = f"GET /envs HTTP/1.1\r\nHost: x\r\nX-Access-Token: {TOKEN}\r\nX-Access-Token: nope\r\n\r\n"
    async with connection(guarded.port) as conn:
        await conn.send(head.encode())
        assert_refused(await conn.read_response())


@pytest.mark.line(52)
async def test_the_token_opens_every_wire(guarded_wire: Wire):
    processes = Processes(guarded_wire.with_headers(token_header(TOKEN)))
    assert await processes.pids() == set()
    assert (await processes.run(shell("echo in; exit 3"))).stdout == b"in\n"
    assert (await System(guarded_wire).with_token(TOKEN).info()).token_required


async def test_nothing_runs_without_the_token(guarded_wire: Wire, tmp_path):
    proof = tmp_path / "started"
    for headers in ({}, *map(token_header, WRONG)):
        with pytest.raises(RpcError) as error:
            await Processes(guarded_wire.with_headers(headers)).run(start_request("touch", str(proof)))
        assert (error.value.code, error.value.message) == ("unauthenticated", REFUSED)
    assert (await Processes(guarded_wire.with_headers(token_header(TOKEN))).run(shell("true"))).end.exit_code == 0
    assert not proof.exists()


@pytest.mark.line(53)
async def test_health_and_initialisation_need_no_header(guarded: Daemon, guarded_wire: Wire):
    assert (await exchange(guarded.port, "GET", "/health")).status == 204
    assert (await post_init(guarded.port, {"accessToken": TOKEN})).status == 204
    assert (await System(guarded_wire).init(token=TOKEN)).applied


@pytest.mark.line(53)
@pytest.mark.parametrize(("method", "path"), [("GET", "/metrics"), ("GET", "/envs"), ("POST", "/files/compose")])
async def test_other_routes_need_it(guarded: Daemon, method, path):
    assert_refused(await exchange(guarded.port, method, path))
    if method == "GET":
        await get_json(guarded.port, path, TOKEN)


@pytest.mark.line(54)
@pytest.mark.parametrize(
    "path", ["/nope", "/", "/health/", "//health", "/HEALTH", "/init/", "/process.Process/Nope", "/files/../metrics"]
)
async def test_an_unknown_path_is_a_401_and_no_404(guarded: Daemon, path):
    assert_refused(await exchange(guarded.port, "GET", path))
    assert (await exchange(guarded.port, "GET", path, headers=token_header(TOKEN))).status in (404, 405)


async def test_what_is_exempt_is_so_for_its_own_method(guarded: Daemon):
    for method, path in (("POST", "/health"), ("GET", "/init"), ("PUT", "/files"), ("GET", f"/{INIT}")):
        assert_refused(await exchange(guarded.port, method, path))


@pytest.mark.line(53)
async def test_an_exempt_path_may_be_written_with_escapes(guarded: Daemon):
    assert (await exchange(guarded.port, "GET", "/%68ealth")).status == 204
    assert_refused(await exchange(guarded.port, "GET", "/health%2f"))


async def test_the_token_comes_before_the_user(guarded: Daemon):
    nobody = basic("no-such-user")
    assert_refused(await exchange(guarded.port, "GET", "/envs", headers=nobody))
    response = await exchange(guarded.port, "GET", "/envs", headers={**nobody, **token_header(TOKEN)})
    assert (response.status, json.loads(response.body)["code"]) == (401, "unauthenticated")


@pytest.mark.line(36)
async def test_a_preflight_needs_no_token(guarded: Daemon):
    wanted = {
        "Origin": "https://example.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-access-token",
    }
    response = await exchange(guarded.port, "OPTIONS", f"/{START}", headers=wanted)
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Headers"] == "x-access-token"
    assert_refused(await exchange(guarded.port, "OPTIONS", f"/{START}"))


async def test_a_page_may_read_the_refusal(guarded: Daemon):
    response = await exchange(guarded.port, "GET", "/envs", headers={"Origin": "https://example.test"})
    assert_refused(response)
    assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_refusal_does_not_wait_for_the_body(guarded: Daemon):
    head = request("POST", f"/{STREAM_INPUT}", headers={"Content-Length": "1000000"})
    async with connection(guarded.port) as conn:
        await conn.send(head)
        assert_refused(await conn.read_response())


@pytest.mark.parametrize("value", [b"\xff\xfe", b"to\x00ken", b"to\nken: x", b"to\r ken", b"\x7f", b"t" * 60_000])
async def test_a_token_of_any_bytes_is_borne(guarded: Daemon, value):
    async with connection(guarded.port) as conn:
        await conn.send(b"GET /envs HTTP/1.1\r\nHost: x\r\nX-Access-Token: " + value + b"\r\n\r\n")
        assert (await conn.read_response()).status in (400, 401)
    await get_json(guarded.port, "/envs", TOKEN)


async def refusal(call) -> RpcError:
    """How a call ends; `call` makes it, and may have to make it again."""
    with pytest.raises(grpc.RpcError) as error:
        await answered(call)
    return rpc_error(error.value)


@pytest.mark.line(50, 51)
@pytest.mark.parametrize("given", [None, *WRONG])
async def test_native_calls_of_every_kind_need_it_in_their_metadata(native: Grpc, given):
    metadata = None if given is None else [("x-access-token", given)]
    message = ListRequest().SerializeToString()
    opening = OpenRequest().SerializeToString()
    channel = native.channel
    calls = (
        lambda: channel.unary_unary(f"/{LIST}")(message, metadata=metadata),
        lambda: channel.unary_unary("/no.Service/Nope")(message, metadata=metadata),
        lambda: channel.unary_stream(f"/{START}")(message, metadata=metadata).read(),
        lambda: channel.stream_unary(f"/{STREAM_INPUT}")(iter([message]), metadata=metadata),
        lambda: channel.stream_stream("/pty.Pty/Open")(iter([opening]), metadata=metadata).read(),
        lambda: channel.stream_stream(f"/{REFLECTION}")(iter([message]), metadata=metadata).read(),
    )
    for call in calls:
        error = await refusal(call)
        assert (error.code, error.message) == ("unauthenticated", REFUSED)


async def test_a_native_stream_is_refused_before_it_sends_anything(native: Grpc):
    error = await refusal(lambda: native.channel.stream_stream("/pty.Pty/Open")().read())
    assert (error.code, error.message) == ("unauthenticated", REFUSED)


async def test_reflection_answers_who_has_the_token(native: Grpc):
    asked = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    stream = native.channel.stream_stream(f"/{REFLECTION}")(iter([asked]), metadata=[("x-access-token", TOKEN)])
    found = reflection_pb2.ServerReflectionResponse.FromString(await stream.read())
    assert "system.System" in {service.name for service in found.list_services_response.service}


async def test_health_over_native_grpc_answers_anyone(native: Grpc):
    found = await native.channel.unary_unary(f"/{HEALTH}")(b"")
    assert health_pb2.HealthCheckResponse.FromString(found).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("value", ["\u00ff\u00fe", "to\nken", "to\0ken", "t" * 60_000])
async def test_a_native_token_of_any_bytes_is_borne(guarded: Daemon, native: Grpc, value):
    async with connection(guarded.port) as conn:
        client = Http2(conn)
        message = frame(ListRequest().SerializeToString())
        await conn.send(client.opening + client.call(1, LIST, message, ("x-access-token", value)))
        with suppress(EOFError):
            answer = b"".join(found.payload for found in await client.response(1))
            assert b"grpc-status" in answer or b":status" in answer or not answer
    assert await Processes(native.with_headers(token_header(TOKEN))).pids() == set()


async def test_a_token_that_is_set_counts_from_the_next_call_on(open_wire: OpenWire):
    async with (
        running_daemon() as daemon,
        open_wire(daemon.port) as wire,
        Processes(wire).start(shell("cat; exit 4")) as program,
    ):
        await System(wire).init(token=TOKEN)
        with pytest.raises(RpcError):
            await Processes(wire).pids()
        named = Processes(wire.with_headers(token_header(TOKEN)))
        await named.close_stdin(pid(program.pid))
        assert (await program.rest()).end.exit_code == 4


async def test_init_over_a_wire_is_not_stopped_by_a_wrong_header(guarded_wire: Wire):
    named = System(guarded_wire).with_token("nope")
    assert (await named.init(token=TOKEN)).applied
    with pytest.raises(RpcError) as error:
        await named.init(token="nope")
    assert (error.value.code, error.value.message) == ("unauthenticated", "access token validation failed")
