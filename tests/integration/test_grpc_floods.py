"""Native gRPC clients cut off in a flood: what their library has read ahead of them is lost with the connection.

Who asks for it by offset gets it again: memory is freed behind what the client's flow control says was consumed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from envd_proto.process.process_pb2 import OutputPosition, ProcessEvent
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.faults import kill_server, launch
from tests.support.grpc import Grpc, channel
from tests.support.process import Processes, pid
from tests.support.proxy import proxy_to
from tests.support.readers import MIB, pattern, printing
from tests.support.wires import RpcError

TOTAL = 60 * MIB
CUTS = 8
# Windows that grow with what the library measures, as they do unless told otherwise; of a fixed size; and both.
WINDOWS = {
    "measured": (),
    "large": (("grpc.http2.lookahead_bytes", 8 * MIB), ("grpc.http2.bdp_probe", 0)),
    "measured and large": (("grpc.http2.lookahead_bytes", 8 * MIB),),
}


@pytest.fixture(params=WINDOWS)
def window(request: pytest.FixtureRequest) -> tuple[tuple[str, int], ...]:
    return WINDOWS[request.param]


class FloodReader:
    """Reads one program's output over as many connections as it takes, each begun where the last one broke."""

    def __init__(self, port: int, number: int, window: tuple[tuple[str, int], ...]) -> None:
        self._port = port
        self._number = number
        self._window = window
        self.seen = bytearray()
        self.end: ProcessEvent.EndEvent | None = None

    async def read(self) -> None:
        """Read to the end of the program."""
        while self.end is None:
            with suppress(RpcError):
                await self._follow()

    async def _follow(self) -> None:
        async with channel(self._port, *self._window) as opened:
            processes = Processes(Grpc(self._port, opened))
            resume = OutputPosition(stdout=len(self.seen))
            async with processes.connect(pid(self._number), resume=resume) as follower:
                while self.end is None:
                    event = await follower.next()
                    assert not event.HasField("gap"), f"{event.gap.end - event.gap.begin} bytes are missing"
                    if event.HasField("data"):
                        assert event.data.offset == len(self.seen)
                        self.seen += event.data.stdout
                    elif event.HasField("end"):
                        self.end = event.end


async def flood_over_cuts(reader: FloodReader, cut: Callable[[], Awaitable[object]]) -> None:
    """Have a reader cut off at moments of chance, spread over the whole flood; every byte comes once, in order."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    reading = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(120):
            for number in range(CUTS):
                at = (number + chance.random()) * TOTAL / CUTS
                while len(reader.seen) < at and not reading.done():
                    await asyncio.sleep(0.001)
                await cut()
            await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert reader.seen == pattern(0, TOTAL)
    assert reader.end is not None
    assert reader.end.exit_code == 0


@pytest.mark.slow
async def test_a_flood_comes_whole_over_kills_of_the_server(
    own_daemon: Daemon, window: tuple[tuple[str, int], ...]
) -> None:
    number = await launch(Client(own_daemon.port, Codec.PROTO), printing(TOTAL))
    await flood_over_cuts(FloodReader(own_daemon.port, number, window), lambda: kill_server(own_daemon))


@pytest.mark.slow
async def test_a_flood_comes_whole_over_cut_connections(
    own_daemon: Daemon, window: tuple[tuple[str, int], ...]
) -> None:
    async with proxy_to(own_daemon.port) as proxy:

        async def cut() -> None:
            proxy.cut()

        number = await launch(Client(own_daemon.port, Codec.PROTO), printing(TOTAL))
        await flood_over_cuts(FloodReader(proxy.port, number, window), cut)
