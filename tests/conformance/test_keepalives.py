"""Keepalive events of silent streams."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.process import Processes, pid, shell, start_request

pytestmark = pytest.mark.every_wire


@pytest.mark.line(39)
async def test_a_silent_program_has_a_keepalive_about_every_second(processes: Processes):
    async with processes.start(start_request("sleep", "1000"), headers={"Keepalive-Ping-Interval": "1"}) as program:
        began = time.monotonic()
        for _ in range(2):
            assert (await program.next()).HasField("keepalive")
        assert time.monotonic() - began > 1.8


@pytest.mark.line(39)
async def test_a_connected_stream_has_keepalives_too(processes: Processes):
    async with (
        processes.start(start_request("sleep", "1000")) as program,
        processes.connect(pid(program.pid), headers={"Keepalive-Ping-Interval": "1"}) as follower,
    ):
        assert (await follower.next()).HasField("keepalive")


@pytest.mark.line(40)
async def test_output_puts_the_keepalive_off(processes: Processes):
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.5; echo $i; done"
    outcome = await processes.run(shell(script), headers={"Keepalive-Ping-Interval": "4"})
    assert "keepalive" not in outcome.kinds
    assert outcome.stdout == b"1\n2\n3\n4\n5\n6\n7\n8\n9\n"


@pytest.mark.line(41)
async def test_a_keepalive_interval_that_makes_no_sense_is_the_default(processes: Processes):
    async def kinds(value: str) -> list[str]:
        headers = {"Keepalive-Ping-Interval": value}
        async with processes.start(shell("sleep 1.3; echo done"), headers=headers) as program:
            async with processes.connect(pid(program.pid), headers=headers) as follower:
                connected = await follower.rest()
            started = await program.rest()
        return started.kinds + connected.kinds

    values = ["0", "-1", "abc", "", "0.5", "99999999999999999999", "NaN"]
    for seen in await asyncio.gather(*map(kinds, values)):
        assert seen.count("end") == 2
        assert "keepalive" not in seen
