"""Do everything at once while servers are killed, and tell whether anything was lost or is left: `make chaos`.

Exits with 1 if a byte was lost, a gap was told, a step went wrong, or the daemon has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from envd_sdk import AsyncSandbox
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.faults import kill_server, new_server, settled
from tests.support.grpc import Grpc
from tests.support.grpc_web import GrpcWeb
from tests.support.process import Processes
from tests.support.wires import Wire

from .agent import Agent
from .footprint import Footprint
from .programs import Followed, Tally, script

_STEP_S = 120.0  # of one thing that is done again and again
_CHANNELS = 8  # gRPC connections that programs share
_KILLS = "kills of the server"
_REST_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, and for how long."""

    seconds: float
    processes: int
    kills: int
    seed: int


def main() -> None:
    plan = _plan()
    print(
        f"chaos: seed {plan.seed}, {plan.processes} processes, at least {plan.kills} kills, {plan.seconds:g} s",
        flush=True,
    )
    sys.exit(asyncio.run(_run(plan)))


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=900.0, help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=500, help="at once (%(default)s)")
    parser.add_argument("--kills", type=int, default=100, help="of the server, at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of all chances; printed")
    parser.add_argument("--short", action="store_true", help="a minute, 50 processes, 8 kills")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    if given.short:
        return Plan(60.0, 50, 8, seed)
    return Plan(given.seconds, given.processes, given.kills, seed)


async def _run(plan: Plan) -> int:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _tell_what_waits)
    daemon = await asyncio.to_thread(Daemon.start)
    try:
        with tempfile.TemporaryDirectory(prefix="chaos-") as root:
            tally = Tally()
            before = await _rested(daemon, Path(root))
            await _chaos(daemon, Path(root), plan, tally)
            after = await _rested(daemon, Path(root))
    finally:
        await asyncio.to_thread(daemon.stop)
    return _report(tally, after.growth_since(before), before, after)


def _tell_what_waits() -> None:
    """Print where every task waits, so that a run which does not end can be asked why."""
    for task in asyncio.all_tasks():
        places, coro = [], task.get_coro()
        while coro is not None:
            frame = getattr(coro, "cr_frame", None) or getattr(coro, "ag_frame", None)
            places.append(f"{frame.f_code.co_name}:{frame.f_lineno}" if frame else type(coro).__name__)
            coro = getattr(coro, "cr_await", None) or getattr(coro, "ag_await", None)
        print(task.get_name(), " > ".join(places), flush=True)


async def _chaos(daemon: Daemon, root: Path, plan: Plan, tally: Tally) -> None:
    until = time.monotonic() + plan.seconds
    home, work = root / "home", root / "work"
    home.mkdir()
    work.mkdir()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(
            await AsyncSandbox.connect_local(daemon.address, reconnect_timeout=_STEP_S)
        )
        channels = [await stack.enter_async_context(Grpc.open(daemon.port)) for _ in range(_CHANNELS)]
        agent = Agent(sandbox, work, home, plan.seed)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for number in range(plan.processes):
            group.create_task(_programs(_wire(daemon.port, number, channels), number, plan, tally, until))
        for step in agent.tasks():
            group.create_task(_again_and_again(step, tally, until))
        group.create_task(_kill(daemon, plan, tally, until))


def _wire(port: int, number: int, channels: list[Grpc]) -> Wire:
    kinds: tuple[Wire, ...] = (
        Client(port, Codec.PROTO),
        Client(port, Codec.JSON),
        GrpcWeb(port),
        channels[number % len(channels)],
    )
    return kinds[number % len(kinds)]


async def _programs(wire: Wire, first: int, plan: Plan, tally: Tally, until: float) -> None:
    """Run one program after the other, each for a part of the time."""
    chance = random.Random(f"{plan.seed} {first}")
    number = first
    while (left_s := until - time.monotonic()) > 0:
        pause_s = chance.uniform(2, 10)
        turns = max(1, int(min(left_s, chance.uniform(10, 120)) / pause_s))
        await Followed(wire, number, turns, tally, chance).run(script(number, turns, round(pause_s, 2)))
        number += plan.processes


async def _again_and_again(step: Callable[[], Awaitable[None]], tally: Tally, until: float) -> None:
    while time.monotonic() < until:
        try:
            async with asyncio.timeout(_STEP_S):
                await step()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the report tells it
            tally.wrong.append(f"{step.__name__}: {type(exc).__name__}: {exc}")
        tally.counts[step.__name__] += 1


async def _kill(daemon: Daemon, plan: Plan, tally: Tally, until: float) -> None:
    chance = random.Random(plan.seed)
    while time.monotonic() < until or tally.counts[_KILLS] < plan.kills:
        await asyncio.sleep(chance.uniform(0.4, 6))
        await new_server(daemon, await kill_server(daemon))
        tally.counts[_KILLS] += 1
        if tally.counts[_KILLS] % 10 == 0:
            print(f"chaos: {tally.counts[_KILLS]} kills, {tally.counts['bytes']} bytes checked", flush=True)


async def _rested(daemon: Daemon, root: Path) -> Footprint:
    """Return the footprint once nothing is under way, of a daemon that has done something of each kind."""
    processes = Processes(Client(daemon.port, Codec.PROTO))
    await settled(lambda: list(root.rglob(".envd-*")), lambda found: not found, timeout_s=_REST_S)
    async with asyncio.timeout(_REST_S):
        while await processes.list():
            await asyncio.sleep(0.1)
    kept = len(await processes.list(include_finished=True))
    return Footprint.of(daemon, root, kept=kept)


def _report(tally: Tally, growth: dict[str, int], before: Footprint, after: Footprint) -> int:
    for name, count in sorted(tally.counts.items()):
        print(f"{name:32} {count}")
    print(f"at the beginning  {before}\nat the end        {after}")
    for what in tally.wrong[:20]:
        print(f"wrong: {what}")
    grown = ", ".join(f"{name} +{more}" for name, more in growth.items()) or "0"
    print(f"bytes lost {tally.lost}, gaps {tally.gaps}, growth {grown}, steps that went wrong {len(tally.wrong)}")
    return int(bool(tally.lost or tally.gaps or growth or tally.wrong))


if __name__ == "__main__":
    main()
