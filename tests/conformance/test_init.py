"""Initialisation over REST and every wire, and what shows of it: variables, defaults, metrics, facts."""

from __future__ import annotations

import json
import os
import platform
import pwd
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress

import pytest

from envd import __version__
from envd_proto.system.system_pb2 import FreezeRequest, FreezeResponse, ThawRequest, ThawResponse
from tests.support.connect import Client, Codec, basic
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import connection, exchange, request
from tests.support.process import Processes, shell
from tests.support.system import FREEZE, THAW, System, get_json, post_init, token_header
from tests.support.terminals import printed, terminal_shell
from tests.support.wires import OpenWire, RpcError, Wire

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
EARLY, LATE = "2025-01-01T00:00:00.000000001Z", "2025-01-01T00:00:00.000000002Z"


@pytest.fixture
async def fresh() -> AsyncIterator[Daemon]:
    """A daemon nobody has initialised."""
    async with running_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def untouched() -> Iterator[Daemon]:
    """A daemon nobody has initialised either, for all tests that try in vain, and see that nothing has changed."""
    daemon = Daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
async def untouched_system(untouched: Daemon, open_wire: OpenWire) -> AsyncIterator[System]:
    async with open_wire(untouched.port) as wire:
        yield System(wire)


@pytest.fixture
async def system(fresh: Daemon, open_wire: OpenWire) -> AsyncIterator[System]:
    async with open_wire(fresh.port) as wire:
        yield System(wire)


async def accepted(daemon: Daemon, fields: object = None, *, body: bytes | None = None) -> None:
    response = await post_init(daemon.port, fields, body=body)
    assert (response.status, response.body) == (204, b""), response
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Envd-Version"] == __version__


async def refused(daemon: Daemon, fields: object = None, *, body: bytes | None = None) -> tuple[int, str]:
    """Status and text of a refusal."""
    response = await post_init(daemon.port, fields, body=body)
    assert response.status >= 400, response
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Envd-Version"] == __version__
    if response.body:
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    return response.status, response.body.decode()


async def error_of(call: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(RpcError) as error:
        await call
    return error.value.code, error.value.message


async def envs(daemon: Daemon, token: str | None = None) -> dict[str, str]:
    found = await get_json(daemon.port, "/envs", token)
    assert found.pop("E2B_SANDBOX") == "true"
    return dict(found)


# The token


@pytest.mark.line(55)
@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"accessToken":null}', b'{"unknown":[1,{"a":null}]}'])
async def test_a_fresh_daemon_needs_no_token_to_be_initialised(fresh: Daemon, body):
    await accepted(fresh, body=body)
    await get_json(fresh.port, "/envs")


@pytest.mark.line(55, 56)
async def test_the_first_token_counts_and_can_be_repeated(fresh: Daemon):
    await accepted(fresh, {"accessToken": "first"})
    await accepted(fresh, {"accessToken": "first"})
    assert (await exchange(fresh.port, "GET", "/envs")).status == 401
    await get_json(fresh.port, "/envs", "first")


@pytest.mark.line(57)
async def test_another_token_is_refused_and_the_first_one_stays(fresh: Daemon):
    await accepted(fresh, {"accessToken": "first", "envVars": {"A": "1"}})
    assert await refused(fresh, {"accessToken": "second", "envVars": {}}) == (401, "access token validation failed")
    assert (await exchange(fresh.port, "GET", "/envs", headers=token_header("second"))).status == 401
    assert await envs(fresh, "first") == {"A": "1"}


@pytest.mark.line(58)
async def test_a_token_cannot_be_taken_away_by_leaving_it_out(fresh: Daemon):
    await accepted(fresh, {"accessToken": "first"})
    for body in (b"", b"{}", b'{"accessToken":null}'):
        assert await refused(fresh, body=body) == (401, "access token reset not authorized")
    assert (await exchange(fresh.port, "GET", "/envs")).status == 401


@pytest.mark.line(55, 56, 57, 58)
async def test_the_token_over_every_wire(system: System):
    assert (await system.init(token="first")).version == __version__
    assert (await system.init(token="first")).applied
    assert await error_of(system.init(token="second")) == ("unauthenticated", "access token validation failed")
    assert await error_of(system.init()) == ("unauthenticated", "access token reset not authorized")
    assert (await system.with_token("first").info()).token_required


@pytest.mark.line(136)
@pytest.mark.parametrize("token", ["", "a\\b", 'a"b', "a\nb", "a\0b", " a", "a ", "\x7f"])
async def test_what_can_be_no_token_is_refused(untouched: Daemon, token):
    assert await refused(untouched, {"accessToken": token, "envVars": {"A": "1"}}) == (400, "")
    assert await envs(untouched) == {}


@pytest.mark.line(136)
@pytest.mark.parametrize("token", ["", "a\\b", "a\nb"])
async def test_what_can_be_no_token_is_refused_over_every_wire(untouched_system: System, token):
    code, message = await error_of(untouched_system.init(token=token))
    assert code == "invalid_argument"
    assert message.startswith("access token: ")
    assert not (await untouched_system.info()).token_required


async def test_a_token_beyond_ascii_works(fresh: Daemon):
    await accepted(fresh, {"accessToken": "schlüssel"})
    await get_json(fresh.port, "/envs", "schlüssel".encode().decode("latin-1"))


# Bodies


@pytest.mark.line(135)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b" ",
        b"[]",
        b'"text"',
        b"{}{}",
        b"\xff\xfe",
        b'{"accessToken":1}',
        b'{"accessToken":["a"]}',
        b'{"envVars":[]}',
        b'{"envVars":{"A":1}}',
        b'{"envVars":{"A":"\\ud800"}}',
        b'{"defaultUser":7}',
        b'{"defaultWorkdir":{}}',
        b'{"timestamp":1735689600}',
        b'{"timestamp":"yesterday"}',
        b'{"timestamp":"2025-02-30T00:00:00Z"}',
        b'{"timestamp":"2025-01-01 00:00:00Z"}',
        b'{"timestamp":"2025-01-01T00:00:00"}',
        b'{"timestamp":""}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"timestamp":' + b"9" * 10_000 + b"}",
    ],
)
async def test_a_body_that_cannot_be_read_is_a_400_without_a_body(daemon: Daemon, body):
    assert await refused(daemon, body=body) == (400, "")


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
async def test_a_body_of_ten_megabytes_is_refused_and_changes_nothing(untouched: Daemon, chunked):
    body = json.dumps({"accessToken": "first", "envVars": {"A": "x" * 10_000_000}}).encode()
    pieces = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    whole = request("POST", "/init", chunks=pieces) if chunked else request("POST", "/init", body=body)
    async with connection(untouched.port) as conn:
        with suppress(ConnectionError):  # it was answered before it was sent
            await conn.send(whole)
        response = await conn.read_response()
    assert response.status == 413
    assert response.headers["X-Envd-Version"] == __version__
    assert await envs(untouched) == {}


@pytest.mark.every_wire
async def test_a_message_that_is_too_large_is_refused_and_changes_nothing(untouched_system: System):
    code, _ = await error_of(untouched_system.init(token="first", variables={"A": "x" * 3_000_000}))
    assert code == "resource_exhausted"
    assert not (await untouched_system.info()).initialized


async def test_a_body_that_is_cut_short_changes_nothing(untouched: Daemon):
    body = json.dumps({"accessToken": "first"}).encode()
    async with connection(untouched.port) as conn:
        await conn.send(request("POST", "/init", headers={"Content-Length": str(len(body) + 1)}, body=body))
        conn.socket.shutdown(socket.SHUT_WR)
        await conn.read_to_end()
    assert await envs(untouched) == {}


@pytest.mark.line(134)
async def test_the_version_is_new_enough_for_every_feature_of_published_clients():
    assert tuple(int(part) for part in __version__.split(".")) >= (0, 6, 13)


async def test_an_unknown_basic_user_cannot_initialise(untouched: Daemon):
    response = await exchange(untouched.port, "POST", "/init", headers=basic("nope"), body=b'{"accessToken":"first"}')
    assert response.status == 401
    assert await envs(untouched) == {}


# Variables


@pytest.mark.line(133)
async def test_the_daemons_own_variable_is_there_from_the_start(untouched: Daemon, untouched_system: System):
    assert await get_json(untouched.port, "/envs") == {"E2B_SANDBOX": "true"}
    assert await untouched_system.envs() == {"E2B_SANDBOX": "true"}


@pytest.mark.line(137)
async def test_variables_replace_those_before_and_leave_the_daemons_own(fresh: Daemon):
    await accepted(fresh, {"envVars": {"A": "1", "B": "2"}})
    await accepted(fresh, {"envVars": {"B": "3", "E2B_SANDBOX": "mine", "E2B_TEMPLATE_ID": "mine"}})
    assert await envs(fresh) == {"B": "3"}
    await accepted(fresh, {})
    assert await envs(fresh) == {"B": "3"}
    await accepted(fresh, {"envVars": None})
    assert await envs(fresh) == {"B": "3"}
    await accepted(fresh, {"envVars": {}})
    assert await envs(fresh) == {}


@pytest.mark.line(137, 180)
async def test_programs_and_terminals_get_the_variables(system: System):
    await system.init(variables={"A": "from init", "PATH": "/bin:/usr/bin:/x", "E2B_SANDBOX": "mine", "B": "ü"})
    script = 'echo "$A|$PATH|$E2B_SANDBOX|$B|$HOME"'
    home = pwd.getpwuid(os.geteuid()).pw_dir
    expected = f"from init|/bin:/usr/bin:/x|true|ü|{home}"
    assert (await Processes(system.wire).run(shell(script))).stdout.decode().strip() == expected
    own = await Processes(system.wire).run(shell(script, envs={"A": "own"}))
    assert own.stdout.decode().strip() == expected.replace("from init", "own")
    assert printed(await Processes(system.wire).run(terminal_shell(script))).decode().strip() == expected
    await system.init(variables={})
    assert (await Processes(system.wire).run(shell('echo "$A$B"'))).stdout == b"\n"


@pytest.mark.parametrize(("name", "value"), [("", "1"), ("A=B", "1"), ("A\0", "1"), ("A", "\0"), ("A", "x" * 131_072)])
async def test_a_variable_that_no_program_could_get_is_refused(untouched: Daemon, name, value):
    status, text = await refused(untouched, {"envVars": {"GOOD": "1", name: value}, "accessToken": "first"})
    assert status == 400
    assert "variable" in text
    assert "x" * 100 not in text
    assert await envs(untouched) == {}


# Time


@pytest.mark.line(138)
async def test_what_is_older_than_what_was_applied_changes_nothing(fresh: Daemon):
    await accepted(fresh, {"timestamp": LATE, "envVars": {"A": "late"}})
    await accepted(fresh, {"timestamp": EARLY, "envVars": {"A": "early"}, "defaultUser": "no-such-user"})
    assert await envs(fresh) == {"A": "late"}
    await accepted(fresh, {"timestamp": LATE, "envVars": {"A": "again"}})
    assert await envs(fresh) == {"A": "again"}


@pytest.mark.line(138)
async def test_a_replayed_initialisation_does_not_set_a_token(fresh: Daemon):
    await accepted(fresh, {"timestamp": LATE})
    await accepted(fresh, {"timestamp": EARLY, "accessToken": "old"})
    assert await envs(fresh) == {}


@pytest.mark.line(138)
async def test_time_zones_and_fractions_are_understood(fresh: Daemon):
    await accepted(fresh, {"timestamp": "2025-01-01T02:00:00.5+02:00", "envVars": {"A": "1"}})
    await accepted(fresh, {"timestamp": "2025-01-01T00:00:00.4999999999Z", "envVars": {"A": "2"}})
    await accepted(fresh, {"timestamp": "2024-12-31T20:30:00.499999999-03:30", "envVars": {"A": "3"}})
    assert await envs(fresh) == {"A": "1"}
    await accepted(fresh, {"timestamp": "2024-12-31T20:30:00.500000000-03:30", "envVars": {"A": "4"}})
    assert await envs(fresh) == {"A": "4"}


@pytest.mark.line(139)
async def test_what_has_no_time_is_always_applied(fresh: Daemon):
    await accepted(fresh, {"timestamp": LATE, "envVars": {"A": "1"}})
    await accepted(fresh, {"envVars": {"A": "2"}})
    assert await envs(fresh) == {"A": "2"}
    await accepted(fresh, {"timestamp": EARLY, "envVars": {"A": "3"}})
    assert await envs(fresh) == {"A": "2"}


@pytest.mark.line(138, 139)
async def test_time_over_every_wire(system: System):
    assert (await system.init(variables={"A": "1"}, seconds=1000, nanos=2)).applied
    assert not (await system.init(variables={"A": "2"}, seconds=1000, nanos=1)).applied
    assert (await system.init(variables={"A": "3"})).applied
    assert not (await system.init(variables={"A": "4"}, seconds=999)).applied
    assert (await system.envs())["A"] == "3"


@pytest.mark.line(138)
async def test_a_replay_with_a_wrong_token_is_still_refused(fresh: Daemon):
    await accepted(fresh, {"timestamp": LATE, "accessToken": "first"})
    assert (await refused(fresh, {"timestamp": EARLY, "accessToken": "nope"}))[0] == 401


# Defaults


@as_root
@pytest.mark.line(43, 140)
async def test_a_default_user_counts_until_another_one_is_set(system: System, other_user):
    processes = Processes(system.wire)
    await system.init(default_user=other_user.pw_name)
    for settings in ({}, {"default_user": ""}, {"variables": {}}):
        await system.init(**settings)
        outcome = await processes.run(shell('id -un; echo "$HOME"; pwd'))
        assert outcome.stdout.decode().split() == [other_user.pw_name, other_user.pw_dir, other_user.pw_dir]
    assert (await processes.as_user("root").run(shell("id -un"))).stdout == b"root\n"
    assert (await system.info()).default_user == other_user.pw_name
    assert printed(await processes.run(terminal_shell("id -un"))).decode().strip() == other_user.pw_name


@as_root
@pytest.mark.line(140)
async def test_an_empty_or_absent_default_user_leaves_the_one_there_is(fresh: Daemon, other_user):
    await accepted(fresh, {"defaultUser": other_user.pw_name, "defaultWorkdir": "/tmp"})
    await accepted(fresh, {"defaultUser": "", "defaultWorkdir": ""})
    await accepted(fresh, {"defaultUser": None})
    info = await System(Client(fresh.port, Codec.JSON)).info()
    assert (info.default_user, info.default_workdir) == (other_user.pw_name, "/tmp")


@pytest.mark.line(179)
async def test_programs_begin_in_the_default_directory(system: System, tmp_path):
    await system.init(default_workdir=str(tmp_path))
    assert (await Processes(system.wire).run(shell("pwd"))).stdout.decode().strip() == str(tmp_path)
    in_terminal = await Processes(system.wire).run(terminal_shell("pwd"))
    assert printed(in_terminal).decode().strip() == str(tmp_path)
    own = await Processes(system.wire).run(shell("pwd", cwd="/"))
    assert own.stdout == b"/\n"
    assert (await system.info()).default_workdir == str(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        {"defaultUser": "no-such-user"},
        {"defaultUser": "4294967295"},
        {"defaultWorkdir": "~other/x"},
        {"defaultWorkdir": "/a\0"},
    ],
)
async def test_defaults_that_cannot_be_are_refused_and_nothing_is_changed(fresh: Daemon, bad):
    await accepted(fresh, {"envVars": {"A": "1"}, "timestamp": EARLY})
    status, text = await refused(fresh, {"accessToken": "t", "envVars": {}, "timestamp": LATE, **bad})
    assert status == 400
    assert text
    assert await envs(fresh) == {"A": "1"}
    # The time was not used up either.
    await accepted(fresh, {"envVars": {"A": "2"}, "timestamp": EARLY})
    assert await envs(fresh) == {"A": "2"}


async def test_who_may_not_initialise_does_not_learn_who_is_there(fresh: Daemon):
    await accepted(fresh, {"accessToken": "first"})
    answer = await refused(fresh, {"accessToken": "nope", "defaultUser": "no-such-user"})
    assert answer == (401, "access token validation failed")


@pytest.mark.every_wire
async def test_an_unknown_default_user_is_refused_over_every_wire(untouched_system: System):
    code, message = await error_of(untouched_system.init(default_user="no-such-user", token="first"))
    assert code == "invalid_argument"
    assert "no-such-user" in message
    assert not (await untouched_system.info()).initialized


async def test_without_root_only_the_daemons_own_user_can_be_the_default(open_wire: OpenWire, other_user):
    async with running_daemon(user=other_user.pw_name) as daemon, open_wire(daemon.port) as wire:
        code, _ = await error_of(System(wire).init(default_user="root"))
        assert code == "invalid_argument"
        await System(wire).init(default_user=other_user.pw_name)
        info = await System(wire).info()
        assert (info.default_user, info.privileged) == (other_user.pw_name, False)


async def test_fields_for_later_are_accepted_and_named_in_the_log():
    fields = {
        "volumeMounts": [{"nfs_target": "secret-target", "path": "/x"}],
        "hyperloopIP": "10.11.12.13",
        "lifecycleID": "secret-life",
        "caBundle": "secret-bundle",
    }
    async with running_daemon() as daemon:
        await accepted(daemon, {**fields, "envVars": {"A": "secret-value"}, "accessToken": "secret-token"})
        await refused(daemon, {"accessToken": "secret-other"})
    log = daemon.log()
    assert all(name in log for name in fields)
    assert "secret-" not in log
    assert "10.11.12.13" not in log


# Metrics, facts


@pytest.mark.line(132)
async def test_metrics_have_their_ten_fields(daemon: Daemon):
    before = int(time.time())
    found = await get_json(daemon.port, "/metrics")
    after = time.time()
    assert list(found) == [
        "ts",
        "cpu_count",
        "cpu_used_pct",
        "mem_total_mib",
        "mem_used_mib",
        "mem_total",
        "mem_used",
        "mem_cache",
        "disk_used",
        "disk_total",
    ]
    assert before <= found["ts"] <= after
    assert found["cpu_count"] == os.cpu_count()
    assert 0 <= found["cpu_used_pct"] <= 100
    assert found["mem_total"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < found["mem_used"] < found["mem_total"]
    assert found["mem_total_mib"] == found["mem_total"] // 2**20
    assert found["mem_used_mib"] == found["mem_used"] // 2**20
    root = os.statvfs("/")
    assert found["disk_total"] == root.f_blocks * root.f_frsize
    assert 0 < found["disk_used"] <= found["disk_total"]


@pytest.mark.line(132)
async def test_used_memory_is_what_is_not_available(daemon: Daemon):
    found = await get_json(daemon.port, "/metrics")
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    assert abs(found["mem_used"] - (memory["MemTotal"] - memory["MemAvailable"])) < 512 * 2**20
    assert abs(found["mem_cache"] - (memory["Cached"] + memory["SReclaimable"])) < 512 * 2**20


@pytest.mark.line(132)
async def test_metrics_over_every_wire(wire: Wire):
    before = int(time.time())
    first, second = await System(wire).metrics(), await System(wire).metrics()
    assert first.cpu_count == os.cpu_count()
    assert first.cpu_busy_us <= second.cpu_busy_us <= second.cpu_total_us
    assert first.cpu_total_us <= second.cpu_total_us
    assert before <= first.time.seconds <= time.time()
    assert 0 < first.mem_used < first.mem_total
    assert 0 < first.disk_used <= first.disk_total


async def test_info_says_what_runs_here(fresh: Daemon, system: System):
    info = await system.info()
    assert info.version == __version__
    assert info.pid == fresh.pid
    assert info.server_restarts == 0
    assert info.kernel == platform.release()
    assert info.architecture == platform.machine()
    assert info.default_user == pwd.getpwuid(os.geteuid()).pw_name
    assert info.privileged == (os.geteuid() == 0)
    assert (info.initialized, info.token_required, info.can_freeze) == (False, False, False)
    assert 0 <= info.server_started_at.ToNanoseconds() - info.started_at.ToNanoseconds() < 30_000_000_000
    assert abs(info.started_at.seconds - time.time()) < 60
    processes = Processes(system.wire)
    async with processes.start(shell("cat")):
        assert (await system.info()).programs == 1
    await system.init()
    assert (await system.info()).initialized


async def test_freezing_is_not_there_yet(wire: Wire):
    assert (await error_of(wire.unary(FREEZE, FreezeRequest(), FreezeResponse)))[0] == "unimplemented"
    assert (await error_of(wire.unary(THAW, ThawRequest(), ThawResponse)))[0] == "unimplemented"
