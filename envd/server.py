"""The server process: builds everything, wires it, serves, unwinds."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import resource
import socket
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from envd import __version__, access_token, files, logs, rpc, web
from envd.config import Config, Limits
from envd.errors import EnvdError
from envd.host import process_tree
from envd.host.access import Access
from envd.host.init import Init
from envd.host.metrics import Meter
from envd.host.record import Record
from envd.host.session import Session
from envd.host.threads_ahead import ReadyPool, Reserve
from envd.host.users import Users
from envd.keeper.client import KeeperClient, kept_file
from envd.keeper.naming import call_this_process
from envd.keeper.standby import Turn, await_turn
from envd.process.journal_budget import JournalBudget
from envd.process.orphans import leave_a_drain
from envd.process.spawn import Spawner
from envd.process.table import ProcessTable
from envd.services.process.service import ProcessService
from envd.services.pty.service import PtyService
from envd.services.system.routes import Sandbox
from envd.services.system.service import Birth, SystemService
from envd.supervise import Supervisor
from envd.transport import codec
from envd.transport.auth import Gate
from envd.transport.grpc_server import GrpcServer
from envd.transport.listener import Listener
from envd.transport.origins import Origins
from envd.transport.router import Router
from envd_proto.process import process_pb2
from envd_proto.pty import pty_pb2
from envd_proto.system import system_pb2

log = logging.getLogger("envd.server")

_DESCRIPTOR_TABLE = 16384
_THREADS = 32  # that send files and read /proc: so many may wait for a slow disk. The loop's own are cores + 4
# Started before they are needed: those that find and signal a tree, and those that touch files.
_THREADS_AHEAD = 2
_RESERVE = 5


@dataclass(frozen=True, slots=True)
class ServerThreads:
    """The threads a server has before it is needed."""

    pool: ReadyPool
    reserve: Reserve

    @classmethod
    def start(cls) -> ServerThreads:
        """Start them."""
        return cls(ReadyPool(_THREADS, _THREADS_AHEAD, name="worker"), Reserve(_RESERVE))


def main() -> None:
    """Run the server; started by the keeper, which hands it its socket and the listening ones."""
    call_this_process("envd-standby")
    # A keeper of 0.7, which an update finds running, has the configuration on the command line.
    config = Config.from_json(os.environ.get("ENVD_CONFIG") or sys.argv[1])
    logs.configure(config.log_level)
    _raise_descriptor_limit()
    turn = await_turn(ServerThreads.start)
    call_this_process("envd-server")
    with asyncio.Runner() as runner:
        runner.run(_serve(config, turn))
        # At once: a thread that a file system holds cannot be ended, and is waited for otherwise.
        os._exit(os.EX_OK)


def _raise_descriptor_limit() -> None:
    """Use all descriptors there are, and have the kernel make room for them now.

    It doubles the table when it is full, and once there are threads each doubling waits for an RCU grace period: calls
    that opened descriptor 64, 128, 256 ... took 10 to 30 ms.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(OSError):  # only slower without
        os.close(fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, min(hard, _DESCRIPTOR_TABLE) - 1))


async def _serve(config: Config, turn: Turn[ServerThreads]) -> None:
    asyncio.get_running_loop().set_default_executor(turn.prepared.pool)
    birth = _birth(turn.generation)
    async with AsyncExitStack() as stack:
        keeper = _keeper(turn)
        stopping = _stop_signal(keeper)
        jobs = Supervisor()
        stack.push_async_callback(jobs.stop)
        access = Access()
        session = Session(Users(), access, Record(kept_file("session")), in_sandbox=config.in_sandbox)
        _take_token(config, session)
        table = _table(config, keeper, session, jobs)
        filesystem = files.build(config, session, access, jobs, turn.prepared.reserve.start)
        gate = Gate(access.allow, session.check_user)
        initialiser, meter = Init(session, access), Meter()
        system = SystemService(birth, session, initialiser, meter, table.running)
        methods = {**_system(config, system), **_processes(config, table, jobs), **filesystem.methods}
        sandbox = Sandbox(session, initialiser, meter, version=birth.version, init_bytes=config.limits.init_bytes)
        origins = Origins(lambda: access.required, config.allow_origins, config.allow_hosts)
        grpc = GrpcServer(methods, gate, origins, config.limits)
        routes = web.table([*sandbox.routes(), *filesystem.routes])
        router = Router(methods, routes, gate, origins, unary_s=config.limits.unary_s)
        listener = _listener(config.limits, router, grpc, jobs)
        _warn_without_root()

        began = time.monotonic()
        adopted = await keeper.adopt()
        table.adopt(adopted)
        keeper.attend()
        adoption_ms = round((time.monotonic() - began) * 1000, 1)
        jobs.spawn(table.retain(), name="retention")
        jobs.spawn(listener.watch(), name="connections")
        jobs.spawn(meter.watch(), name="metrics")
        await filesystem.restore()
        filesystem.start(jobs)
        jobs.spawn(_load_default_user(session), name="default user")

        sockets = [socket.socket(fileno=fd) for fd in config.listeners]
        await listener.start(sockets)
        bound = [_address(sock) for sock in sockets]
        keeper.serving()
        _announce(bound, first=birth.generation == 1, protected=access.required)
        log.info("serving", extra={"adopted": len(adopted), "adoption_ms": adoption_ms})
        jobs.spawn(asyncio.to_thread(codec.warm_up), name="warm-up")
        gc.freeze()
        gc.enable()
        await stopping.wait()
        await _drain(config, listener, grpc, table)
        await filesystem.stop(config.stop_grace_s)
        _remove_paths(bound)


def _keeper(turn: Turn[ServerThreads]) -> KeeperClient:
    keeper = KeeperClient(turn.link)
    if turn.standby is not None:
        keeper.stand_by(turn.standby)
    return keeper


def _birth(generation: int) -> Birth:
    """Read what the keeper says of itself."""
    return Birth(__version__, float(os.environ["ENVD_STARTED_AT"]), time.time(), generation, os.getppid())


def _table(config: Config, keeper: KeeperClient, session: Session, jobs: Supervisor) -> ProcessTable:
    output = config.output
    total = min(output.total_bytes, _memory_bytes() // output.total_share_of_memory)
    pool = JournalBudget(replace(output, total_bytes=total))
    spawner = Spawner(
        keeper,
        session,
        pool,
        output,
        mark_base=os.getppid() << 32 if process_tree.marks_work() else 0,
    )
    return ProcessTable(keeper, spawner, pool, jobs, output)


def _processes(config: Config, table: ProcessTable, jobs: Supervisor) -> rpc.MethodTable:
    limits = config.limits
    processes = rpc.bind(
        process_pb2.DESCRIPTOR.services_by_name["Process"],
        ProcessService(table),
        message_bytes=limits.message_bytes,
        larger={"Start": limits.start_bytes, "SendInput": limits.input_bytes, "StreamInput": limits.input_bytes},
    )
    terminals = rpc.bind(
        pty_pb2.DESCRIPTOR.services_by_name["Pty"],
        PtyService(table, jobs),
        message_bytes=limits.message_bytes,
        larger={"Open": limits.input_bytes, "Attach": limits.input_bytes},
    )
    return {**processes, **terminals}


def _system(config: Config, service: SystemService) -> rpc.MethodTable:
    limits = config.limits
    return rpc.bind(
        system_pb2.DESCRIPTOR.services_by_name["System"],
        service,
        message_bytes=limits.message_bytes,
        larger={"Init": limits.init_bytes},
    )


def _listener(limits: Limits, router: Router, grpc: GrpcServer, jobs: Supervisor) -> Listener:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Listener(router.handle, limits, jobs.spawn, descriptors=descriptors, http2=grpc)


def _take_token(config: Config, session: Session) -> None:
    """Set the operator's access token; from then on the session's record has it, and a later server finds it there."""
    if config.token_fd is None:
        return
    os.set_inheritable(config.token_fd, False)
    token = access_token.take(config.token_fd)
    if token is not None:
        session.require(token)
        access_token.wipe(config.token_fd)


def _warn_without_root() -> None:
    if os.geteuid() != 0:
        log.warning("not root: processes run as the daemon's own user, other users are refused")


async def _load_default_user(session: Session) -> None:
    try:
        await session.load_user()
    except EnvdError as exc:
        log.warning("the default user is not known yet", extra={"reason": exc.message})


def _stop_signal(keeper: KeeperClient) -> asyncio.Event:
    stopping = asyncio.Event()
    keeper.on_drain = stopping.set
    keeper.on_lost = _keeper_is_lost
    return stopping


def _keeper_is_lost() -> None:
    """Leave: without a keeper nothing can be started, waited for or kept. Processes run on, without an owner."""
    leave_a_drain()
    os._exit(os.EX_UNAVAILABLE)


def _announce(addresses: list[str], *, first: bool, protected: bool) -> None:
    if not first:
        return
    ready = {"version": __version__, "addresses": addresses, "pid": os.getppid()}
    sys.stdout.write(json.dumps(ready, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    if not protected and not all(address.startswith(("127.", "[::1]", "localhost", "unix:")) for address in addresses):
        log.warning(
            "not only on loopback, and no access token: anyone who reaches this port controls the "
            "sandbox. Give a token at the start by --access-token-file or ENVD_ACCESS_TOKEN, or listen on 127.0.0.1"
        )


def _address(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{host}:{name[1]}"


async def _drain(config: Config, listener: Listener, grpc: GrpcServer, table: ProcessTable) -> None:
    """Take nothing new, end the processes, let subscribers see it, then leave."""
    log.info("stopping")
    await listener.stop_accepting()
    await table.stop(config.stop_grace_s)
    await asyncio.gather(listener.quiet(config.stop_grace_s), grpc.stop(config.stop_grace_s))
    listener.close()


def _remove_paths(addresses: list[str]) -> None:
    for address in addresses:
        if address.startswith("unix:"):
            with contextlib.suppress(OSError):  # it was removed already
                os.unlink(address.removeprefix("unix:"))


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
