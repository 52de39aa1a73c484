"""Who a call runs as: the name in HTTP Basic."""

from __future__ import annotations

import base64
import os
import pwd

import pytest

from envd_proto.process.process_pb2 import ListRequest
from tests.support.connect import Client, error_in, error_of, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import exchange
from tests.support.process import LIST, START, Processes, shell, start_request
from tests.support.wires import OpenWire, RpcError, basic

OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name


def with_header(processes: Processes, value: str) -> Processes:
    return Processes(processes.wire.with_headers({"Authorization": value}))


async def refusal(processes: Processes, name: str) -> tuple[str, str]:
    """Code and message of a unary call by a user that does not exist."""
    with pytest.raises(RpcError) as error:
        await processes.as_user(name).list()
    return error.value.code, error.value.message


@pytest.mark.line(43)
async def test_without_a_name_it_is_the_default_user(processes: Processes):
    outcome = await processes.run(start_request("id", "-un"))
    assert outcome.stdout.decode().strip() == OWN_NAME


@pytest.mark.line(44)
@pytest.mark.parametrize("password", ["", "anything", "with:colon"])
@pytest.mark.every_wire
async def test_the_name_selects_the_user_whatever_the_password(processes: Processes, other_user, password):
    named = Processes(processes.wire.with_headers(basic(other_user.pw_name, password)))
    assert (await named.run(start_request("id", "-un"))).stdout.decode().strip() == other_user.pw_name


@pytest.mark.every_wire
async def test_the_scheme_may_be_in_any_case(processes: Processes, other_user):
    header = basic(other_user.pw_name)["Authorization"].replace("Basic", "bAsIc")
    named = with_header(processes, header)
    assert (await named.run(start_request("id", "-un"))).stdout.decode().strip() == other_user.pw_name


@pytest.mark.line(15, 45)
async def test_an_unknown_user_of_a_unary_call_is_unauthenticated(client: Client):
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()), headers=basic("nope"))
    error = error_of(response)
    assert (response.status, error.code, error.message) == (401, "unauthenticated", "invalid username: 'nope'")
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.line(46)
async def test_an_unknown_user_of_a_stream_is_unauthenticated_in_its_last_frame(client: Client):
    body = frame(client.codec.encode(shell("exit 0")))
    response, frames = await client.stream_whole(START, body, headers=basic("nope"))
    error = error_in(frames[-1])
    assert response.status == 200
    assert response.headers["Content-Type"] == client.codec.stream_type
    assert len(frames) == 1
    assert error is not None
    assert (error.code, error.message) == ("unauthenticated", "invalid username: 'nope'")


@pytest.mark.line(45, 47)
@pytest.mark.parametrize("name", ["nope", "", "4294967295"], ids=["unknown", "empty", "number"])
@pytest.mark.every_wire
async def test_who_does_not_exist_is_unauthenticated(processes: Processes, name):
    assert await refusal(processes, name) == ("unauthenticated", f"invalid username: '{name}'")


@pytest.mark.line(46)
@pytest.mark.every_wire
async def test_who_does_not_exist_is_unauthenticated_on_streams_too(processes: Processes, tmp_path):
    proof = tmp_path / "started"
    nobody = processes.as_user("nope")
    with pytest.raises(RpcError) as started:
        await nobody.run(start_request("touch", str(proof)))
    with pytest.raises(RpcError) as streamed:
        await nobody.stream_input([])
    for error in (started.value, streamed.value):
        assert (error.code, error.message) == ("unauthenticated", "invalid username: 'nope'")
    assert not proof.exists()


@pytest.mark.line(48)
@pytest.mark.parametrize(
    "value",
    ["Bearer abc", "Basic %%%", "Basic " + base64.b64encode(b"no-colon").decode()],
    ids=["another scheme", "bad base64", "no colon"],
)
@pytest.mark.every_wire
async def test_what_names_nobody_is_ignored(processes: Processes, value):
    named = with_header(processes, value)
    assert (await named.run(start_request("id", "-un"))).stdout.decode().strip() == OWN_NAME


@pytest.mark.line(49)
@pytest.mark.parametrize("path", ["/health", "/nope"])
async def test_an_unknown_user_is_refused_on_every_route(daemon: Daemon, path):
    assert (await exchange(daemon.port, "GET", path, headers=basic("nope"))).status == 401


async def test_every_user_sees_every_program(processes: Processes, other_user):
    async with processes.start(start_request("sleep", "1000")) as program:
        named = processes.as_user(other_user.pw_name)
        assert program.pid in await named.pids()


async def test_without_root_programs_run_as_the_daemons_own_user(open_wire: OpenWire, other_user):
    async with running_daemon(user=other_user.pw_name) as daemon, open_wire(daemon.port) as wire:
        outcome = await Processes(wire).run(shell("id -un; id -u"))
        assert outcome.stdout.decode().split() == [other_user.pw_name, str(other_user.pw_uid)]
        named = await Processes(wire).as_user(other_user.pw_name).run(shell("exit 4"))
        assert named.end.exit_code == 4


async def test_without_root_another_user_is_refused(open_wire: OpenWire, other_user):
    async with running_daemon(user=other_user.pw_name) as daemon, open_wire(daemon.port) as wire:
        with pytest.raises(RpcError) as error:
            await Processes(wire).as_user("root").run(shell("exit 0"))
    assert error.value.code == "permission_denied"


async def test_without_root_there_is_one_warning(other_user):
    async with running_daemon(user=other_user.pw_name) as daemon:
        assert (await exchange(daemon.port, "GET", "/health")).status == 204
    warnings = [line for line in daemon.stderr if '"warning"' in line.lower()]
    assert len(warnings) == 1, warnings
