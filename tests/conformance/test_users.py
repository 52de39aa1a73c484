"""Who a call runs as: the name in HTTP Basic."""

from __future__ import annotations

import base64
import os
import pwd

import pytest

from envd_proto.process.process_pb2 import ListRequest
from tests.support.connect import Client, basic, error_in, error_of, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import exchange
from tests.support.process import LIST, START, Processes, shell, start_request

OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name


def with_user(processes: Processes, headers: dict[str, str]) -> Processes:
    return Processes(Client(processes.client.port, processes.client.codec, headers))


@pytest.mark.line(43)
async def test_without_a_name_it_is_the_default_user(processes: Processes):
    outcome = await processes.run(start_request("id", "-un"))
    assert outcome.stdout.decode().strip() == OWN_NAME


@pytest.mark.line(44)
@pytest.mark.parametrize("password", ["", "anything", "with:colon"])
async def test_the_name_selects_the_user_whatever_the_password(processes: Processes, other_user, password):
    named = with_user(processes, basic(other_user.pw_name, password))
    assert (await named.run(start_request("id", "-un"))).stdout.decode().strip() == other_user.pw_name


async def test_the_scheme_may_be_in_any_case(processes: Processes, other_user):
    header = basic(other_user.pw_name)["Authorization"].replace("Basic", "bAsIc")
    named = with_user(processes, {"Authorization": header})
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


@pytest.mark.line(47)
async def test_an_empty_name_is_no_user(client: Client):
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()), headers=basic(""))
    assert (response.status, error_of(response).message) == (401, "invalid username: ''")


async def test_a_number_is_no_name(client: Client):
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()), headers=basic("0"))
    assert (response.status, error_of(response).message) == (401, "invalid username: '0'")


@pytest.mark.line(48)
@pytest.mark.parametrize(
    "value",
    ["Bearer abc", "Basic %%%", "Basic " + base64.b64encode(b"no-colon").decode()],
    ids=["another scheme", "bad base64", "no colon"],
)
async def test_what_names_nobody_is_ignored(processes: Processes, value):
    named = with_user(processes, {"Authorization": value})
    assert (await named.run(start_request("id", "-un"))).stdout.decode().strip() == OWN_NAME


@pytest.mark.line(49)
@pytest.mark.parametrize("path", ["/health", "/nope"])
async def test_an_unknown_user_is_refused_on_every_route(daemon: Daemon, path):
    assert (await exchange(daemon.port, "GET", path, headers=basic("nope"))).status == 401


async def test_every_user_sees_every_program(processes: Processes, other_user):
    async with processes.start(start_request("sleep", "1000")) as program:
        named = with_user(processes, basic(other_user.pw_name))
        assert program.pid in await named.pids()


async def test_without_root_programs_run_as_the_daemons_own_user(codec, other_user):
    async with running_daemon(user=other_user.pw_name) as daemon:
        outcome = await Processes.on(daemon.port, codec).run(shell("id -un; id -u"))
        assert outcome.stdout.decode().split() == [other_user.pw_name, str(other_user.pw_uid)]
        named = await Processes.on(daemon.port, codec, user=other_user.pw_name).run(shell("exit 4"))
        assert named.end.exit_code == 4


async def test_without_root_another_user_is_refused(codec, other_user):
    async with running_daemon(user=other_user.pw_name) as daemon:
        client = Client(daemon.port, codec, basic("root"))
        response, frames = await client.stream_whole(START, frame(codec.encode(shell("exit 0"))))
        error = error_in(frames[-1])
        assert response.status == 200
        assert error is not None
        assert error.code == "permission_denied"


async def test_without_root_there_is_one_warning(other_user):
    async with running_daemon(user=other_user.pw_name) as daemon:
        assert (await exchange(daemon.port, "GET", "/health")).status == 204
    warnings = [line for line in daemon.stderr if '"warning"' in line.lower()]
    assert len(warnings) == 1, warnings
