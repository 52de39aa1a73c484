"""Native gRPC over the life of the daemon: a killed server, a stop, a unix socket, and what the first client costs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest

from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, OutputPosition
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import kill_server
from tests.support.grpc import Grpc
from tests.support.kernel import Gate
from tests.support.process import Processes, pid, shell, start_request
from tests.support.wires import RpcError

LINES = 200_000
NUMBERED = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


async def once_it_serves(processes: Processes, number: int, seen: int) -> bytes:
    """What a program printed behind a position, asked for until a server answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return (await processes.replay(pid(number), resume=OutputPosition(stdout=seen))).stdout
            except RpcError as error:
                if error.code != "unavailable":
                    raise
            await asyncio.sleep(0.05)


async def test_a_channel_goes_on_after_the_server_was_killed_and_misses_nothing(own_daemon: Daemon, gate: Gate):
    async with Grpc.open(own_daemon.port) as wire:
        processes = Processes(wire)
        async with processes.start(shell(f"seq 1000; read _ < {gate.path}; seq 1001 {LINES}")) as program:
            await program.until(b"\n1000\n")
            await kill_server(own_daemon)
            with pytest.raises(RpcError) as error:
                await program.rest()
            assert error.value.code == "unavailable"
            gate.open()
            seen = program.seen.stdout
            assert seen + await once_it_serves(processes, program.pid, len(seen)) == NUMBERED


async def test_a_stop_tells_streams_how_their_programs_ended(own_daemon: Daemon):
    async with Grpc.open(own_daemon.port) as wire:
        script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
        async with Processes(wire).start(shell(script)) as program:
            await program.until(b"ready\n")
            stopping = asyncio.create_task(asyncio.to_thread(own_daemon.stop))
            try:
                # The end of the program, or of the server before it could tell.
                with suppress(RpcError):
                    outcome = await program.rest()
                    assert (outcome.stdout, outcome.end.exit_code) == (b"ready\nbye\n", 7)
            finally:
                await stopping
        # A daemon that never was reached any more, or one that is gone, is the same to a client.
        with pytest.raises(RpcError) as error:
            await Processes(wire).list()
        assert error.value.code == "unavailable"


async def test_a_unix_socket_serves_every_protocol(tmp_path: Path):
    path = str(tmp_path / "socket")
    async with running_daemon("--listen", f"unix:{path}"), grpc.aio.insecure_channel(f"unix:{path}") as channel:
        processes = Processes(Grpc(0, channel))
        outcome = await processes.run(start_request("echo", "hi"))
        assert (outcome.stdout, outcome.end.exit_code) == (b"hi\n", 0)
        async with processes.start(start_request("cat")) as program:
            program.leave()
            await processes.send_input(pid(program.pid), b"on\n")
            async with processes.connect(pid(program.pid)) as follower:
                await follower.until(b"on\n")
            await processes.signal(pid(program.pid), SIGNAL_SIGKILL)


def loads_grpc(process: int) -> bool:
    return "cygrpc" in Path(f"/proc/{process}/maps").read_text()


async def test_the_library_is_not_loaded_before_the_first_grpc_client(own_daemon: Daemon):
    server = own_daemon.server_pid()
    for codec in Codec:
        await Processes(Client(own_daemon.port, codec)).run(start_request("true"))
    assert not loads_grpc(server)
    async with Grpc.open(own_daemon.port) as wire:
        await Processes(wire).list()
    assert loads_grpc(server)
    assert not loads_grpc(own_daemon.pid)


async def test_clients_that_come_at_once_all_find_the_library_loaded(own_daemon: Daemon):
    async def ask() -> int:
        async with Grpc.open(own_daemon.port) as wire:
            return len(await Processes(wire).list())

    assert await asyncio.gather(*(ask() for _ in range(50))) == [0] * 50
