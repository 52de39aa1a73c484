"""Finished processes: which are kept, and for how long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from envd.config import Config, Output
from envd_proto.process.process_pb2 import ProcessEvent
from tests.support.connect import Client, Codec
from tests.support.faults import kill_server, new_server
from tests.support.kernel import Gate, is_running, kill
from tests.support.process import Processes, pid, shell, start_request
from tests.support.readers import configured_daemon, until

KEPT = 3


async def test_a_process_whose_end_no_client_was_told_is_kept_longest(tmp_path: Path):
    async with configured_daemon(Config(output=Output(finished_programs=KEPT, return_after_kill_s=0.1))) as daemon:
        processes, gate = Processes(Client(daemon.port, Codec.PROTO)), Gate(tmp_path)
        async with processes.start(shell(f"read _ < {gate.path}; exit 7")) as left:
            left.seen.events.append(ProcessEvent(end=ProcessEvent.EndEvent()))  # its client goes, it stays
        # With the server goes what it knows of connections: one it has not yet seen closed would count as told.
        await new_server(daemon, await kill_server(daemon))
        gate.open()
        await until(lambda: not is_running(left.pid))
        gate.close()
        told = [(await processes.run(start_request("true"))).pid for _ in range(2 * KEPT)]
        assert await _kept(processes) == {left.pid, *told[1 - KEPT :]}
        # A later server knows it, too.
        await new_server(daemon, await kill_server(daemon))
        told = [(await processes.run(start_request("true"))).pid for _ in range(2 * KEPT)]
        assert await _kept(processes) == {left.pid, *told[1 - KEPT :]}
        assert (await processes.replay(pid(left.pid))).end.exit_code == 7
        told = [(await processes.run(start_request("true"))).pid for _ in range(KEPT)]
        assert await _kept(processes) == set(told)


async def _kept(processes: Processes) -> set[int]:
    """Return the pids that are kept once there are not too many of them: they are looked through once a second."""
    async with asyncio.timeout(60):
        while len(kept := await processes.list(include_finished=True)) > KEPT:
            await asyncio.sleep(0.05)
    return {info.pid for info in kept}


async def test_one_whose_output_is_held_open_takes_no_other_with_it():
    finished_s = 2.0
    async with configured_daemon(Config(output=Output(finished_s=finished_s))) as daemon:
        processes = Processes(Client(daemon.port, Codec.PROTO))
        holding = await processes.run(shell("sleep 1000 & echo $!"))
        try:
            beside = await processes.run(start_request("true"))
            await _forgotten(processes, beside.pid)  # so the time of the one before it is over, too
            ended = time.monotonic()
            later = await processes.run(start_request("true"))
            await _forgotten(processes, later.pid)
            assert time.monotonic() - ended >= finished_s
            assert holding.pid in {info.pid for info in await processes.list(include_finished=True)}
        finally:
            kill(int(holding.stdout))


async def _forgotten(processes: Processes, number: int) -> None:
    async with asyncio.timeout(60):
        while number in {info.pid for info in await processes.list(include_finished=True)}:
            await asyncio.sleep(0.02)
