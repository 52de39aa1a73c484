"""What initialisation set survives the server, whenever it is killed; nobody else can read it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import connection, exchange
from tests.support.process import START, Processes, shell, start_request
from tests.support.system import System, get_json, post_init, token_header
from tests.support.wires import OpenWire, RpcError

TOKEN = "s3cret-token"


async def kill(daemon: Daemon) -> None:
    """Kill the server; who connects from now on waits for its successor."""
    await asyncio.to_thread(daemon.kill_server)


async def test_everything_that_was_set_survives_the_server(open_wire: OpenWire, tmp_path):
    async with running_daemon() as daemon, open_wire(daemon.port) as wire:
        own = (await System(wire).info()).default_user
        given = {"token": TOKEN, "variables": {"A": "1"}, "default_user": own, "default_workdir": str(tmp_path)}
        assert (await System(wire).init(**given, seconds=2000)).applied
        before = await System(wire).with_token(TOKEN).info()
        # A wire of its own for each server: a killed one closes its connections.
        for restarts in (1, 2, 3):
            await kill(daemon)
            async with open_wire(daemon.port) as fresh:
                with pytest.raises(RpcError) as error:
                    await System(fresh).envs()
                assert error.value.code == "unauthenticated"
                system = System(fresh).with_token(TOKEN)
                assert (await system.envs())["A"] == "1"
                info = await system.info()
                assert info.server_restarts == restarts
                assert info.started_at == before.started_at
                assert (info.initialized, info.default_user, info.default_workdir) == (True, own, str(tmp_path))
                assert not (await system.init(token=TOKEN, variables={"A": "old"}, seconds=1999)).applied
                outcome = await Processes(system.wire).run(shell("pwd; echo $A"))
                assert outcome.stdout.decode().split() == [str(tmp_path), "1"]


@pytest.mark.slow
async def test_not_one_call_gets_through_while_servers_are_killed(tmp_path):
    proof = tmp_path / "ran"
    async with running_daemon() as daemon:
        await post_init(daemon.port, {"accessToken": TOKEN})
        stop = asyncio.Event()
        statuses: set[int] = set()
        client = Client(daemon.port, Codec.PROTO)
        request = client.request(START, frame(start_request("touch", str(proof)).SerializeToString()), streaming=True)

        async def knock() -> None:
            while not stop.is_set():
                with suppress(OSError, EOFError):
                    async with connection(daemon.port) as conn:
                        await conn.send(request)
                        statuses.add((await conn.read_response()).status)
                    statuses.add((await exchange(daemon.port, "GET", "/envs")).status)

        async with asyncio.TaskGroup() as jobs:
            for _ in range(3):
                jobs.create_task(knock())
            for _ in range(8):
                await kill(daemon)
                await get_json(daemon.port, "/envs", TOKEN)
            stop.set()
    assert statuses == {401}
    assert not proof.exists()


@pytest.mark.slow
async def test_a_server_killed_during_initialisation_leaves_the_old_or_the_new():
    seed = 7
    chance = random.Random(seed)
    sent, told = 0, 0
    padding = "x" * 100_000
    async with running_daemon() as daemon:
        await post_init(daemon.port, {"accessToken": TOKEN})
        stop = asyncio.Event()

        async def initialise() -> None:
            nonlocal sent, told
            while not stop.is_set():
                sent += 1
                fields = {
                    "accessToken": TOKEN,
                    "timestamp": f"2025-01-01T00:00:00.{sent:09}Z",
                    "defaultWorkdir": f"/tmp/{sent}",
                    "envVars": {"A": str(sent), "P": padding, "Q": padding, "R": padding, "Z": str(sent)},
                }
                with suppress(OSError, EOFError):
                    assert (await post_init(daemon.port, fields)).status == 204
                    told = sent

        async with asyncio.TaskGroup() as jobs:
            jobs.create_task(initialise())
            for _ in range(25):
                await asyncio.sleep(chance.random() / 20)  # any instant will do
                lowest = told
                await kill(daemon)
                assert (await exchange(daemon.port, "GET", "/envs")).status == 401
                found = await get_json(daemon.port, "/envs", TOKEN)
                assert found["A"] == found["Z"], f"seed {seed}"
                assert int(found["A"]) >= lowest, f"seed {seed}"
            stop.set()
        await kill(daemon)
        last = await get_json(daemon.port, "/envs", TOKEN)
        assert int(last["A"]) >= told
        info = await System(Client(daemon.port, Codec.JSON)).with_token(TOKEN).info()
        assert info.default_workdir == f"/tmp/{last['A']}"


async def test_two_that_are_first_at_once_do_not_both_win():
    async with running_daemon() as daemon:
        answers = await asyncio.gather(
            *(post_init(daemon.port, {"accessToken": f"token-{n}", "envVars": {"A": str(n)}}) for n in range(20))
        )
        winners = [n for n, answer in enumerate(answers) if answer.status == 204]
        assert len(winners) == 1
        assert {answer.status for answer in answers} == {204, 401}
        assert (await get_json(daemon.port, "/envs", f"token-{winners[0]}"))["A"] == str(winners[0])


async def test_programs_get_neither_the_record_nor_what_leads_to_it():
    async with running_daemon() as daemon:
        await post_init(daemon.port, {"accessToken": TOKEN})
        await kill(daemon)
        processes = Processes(Client(daemon.port, Codec.PROTO).with_headers(token_header(TOKEN)))
        outcome = await processes.run(shell("ls -l /proc/self/fd; env"))
    assert b"/proc/" in outcome.stdout
    assert b"memfd:" not in outcome.stdout
    assert b"ENVD_" not in outcome.stdout


async def test_other_users_cannot_read_the_record(other_user):
    async with running_daemon() as daemon:
        await post_init(daemon.port, {"accessToken": TOKEN})
        for pid in (daemon.pid, daemon.server_pid()):
            links = [link for link in Path(f"/proc/{pid}/fd").iterdir() if "memfd:session" in os.readlink(link)]
            assert len(links) == 1
            assert TOKEN.encode() in links[0].read_bytes()
            assert links[0].stat().st_mode & 0o777 == 0o600
            command = ["cat", str(links[0])]
            read = subprocess.run(
                command, user=other_user.pw_uid, group=other_user.pw_gid, capture_output=True, check=False
            )
            assert read.returncode != 0
            assert TOKEN.encode() not in read.stdout
