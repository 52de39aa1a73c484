"""What most tests share: one daemon per worker, every wire to it, a user of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
import zlib
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.filesystem import Files
from tests.support.grpc import Grpc
from tests.support.grpc_web import GrpcWeb
from tests.support.home import own_home
from tests.support.kernel import Gate
from tests.support.process import Processes
from tests.support.reaper import no_leftovers
from tests.support.trusted_directories import trusted_directory
from tests.support.users import temporary_user
from tests.support.wires import OpenWire, Wire

# A web page that may call the shared daemon, which has no token.
PAGE = "https://example.test"
# Set in the daemon's own environment, so that a test can see that programs do not inherit it.
INHERITED = "ENVD_TEST_INHERITED"


@asynccontextmanager
async def connect_json(port: int) -> AsyncIterator[Wire]:
    yield Client(port, Codec.JSON)


@asynccontextmanager
async def connect_proto(port: int) -> AsyncIterator[Wire]:
    yield Client(port, Codec.PROTO)


@asynccontextmanager
async def grpc_web(port: int) -> AsyncIterator[Wire]:
    yield GrpcWeb(port)


WIRES: dict[str, OpenWire] = {
    "connect-json": connect_json,
    "connect-proto": connect_proto,
    "grpc-web": grpc_web,
    "grpc": Grpc.open,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-wire", action="store_true", help="run what one wire shows over all of them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--every-wire"):
        config.hook.pytest_deselected(items=[item for item in items if not is_on_its_wire(item)])
        items[:] = [item for item in items if is_on_its_wire(item)]


def is_on_its_wire(item: pytest.Item) -> bool:
    """Whether to run a test over the wire it is parametrised with: over each where it is marked so, else over one.

    What the domain does is the same on every wire; that each carries each RPC there and its answer or error back is
    shown by conformance/test_every_rpc.py. Which wire it is follows from the test's name, so it is the same in
    every run and each wire sees its part of all tests.
    """
    wires = getattr(item, "callspec", None) and item.callspec.indices
    if not wires or "open_wire" not in wires or item.get_closest_marker("every_wire"):
        return True
    others = sorted((name, index) for name, index in wires.items() if name != "open_wire")
    name = f"{item.nodeid.partition('[')[0]} {others}"
    return wires["open_wire"] == zlib.crc32(name.encode()) % len(WIRES)


def pytest_configure(config: pytest.Config) -> None:
    """Leave the developer's home alone, and nothing running, before any worker or daemon is started."""
    do_not_ignore_signals()
    around = ExitStack()
    home = around.enter_context(own_home())
    around.enter_context(no_leftovers(*filter(None, [home])))
    config.add_cleanup(around.close)


def do_not_ignore_signals() -> None:
    """Let no daemon inherit that a signal is ignored, as it is in what `nohup`, or a shell in the background, started.

    A handler counts only in this process, and what it starts begins with the default again.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """One daemon for every test of this worker. Tests that stop, kill or flood it start their own."""
    started = Daemon.start(
        *("--port", "0", "--listen", "127.0.0.1", "--allow-origin", PAGE),
        env={INHERITED: "secret", "TERM": "dumb", "LANG": "C.UTF-8"},
    )
    yield started
    started.stop()
    errors = [line for line in started.stderr if '"level": "error"' in line]
    assert not errors, "the daemon logged what it takes for bugs of its own:\n" + "\n".join(errors)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the shared daemon logged last to the report of a failed test."""
    report = yield
    shared = getattr(item, "funcargs", {}).get("daemon")
    if report.failed and isinstance(shared, Daemon):
        report.sections.append(("log of the daemon", shared.log(lines=8)))
    return report


@pytest.fixture(scope="session")
def other_user() -> Iterator[pwd.struct_passwd]:
    """A user without privileges, with a home and a supplementary group."""
    with temporary_user() as user:
        yield user


@pytest.fixture
def app() -> Iterator[Path]:
    """A directory like /app: everyone may look, only root may write, and nobody else can have laid the way there."""
    with trusted_directory() as directory:
        yield directory


@pytest.fixture
def home(other_user: pwd.struct_passwd) -> Iterator[Path]:
    """A directory of the other user's."""
    directory = Path(tempfile.mkdtemp(dir=other_user.pw_dir))
    os.chown(directory, other_user.pw_uid, other_user.pw_gid)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(params=list(WIRES))
def open_wire(request: pytest.FixtureRequest) -> OpenWire:
    """One wire, or every wire in its turn (see `is_on_its_wire`), for tests that start a daemon of their own."""
    return WIRES[request.param]


@pytest.fixture
async def wire(daemon: Daemon, open_wire: OpenWire) -> AsyncIterator[Wire]:
    """A wire to the shared daemon: for what the service does, whatever the frames."""
    async with open_wire(daemon.port) as opened:
        yield opened


@pytest.fixture
def processes(wire: Wire) -> Processes:
    return Processes(wire)


@pytest.fixture
def files(wire: Wire) -> Files:
    return Files(wire)


@pytest.fixture(params=list(Codec), ids=lambda codec: codec.value)
def codec(request: pytest.FixtureRequest) -> Codec:
    found: Codec = request.param
    return found


@pytest.fixture
def client(daemon: Daemon, codec: Codec) -> Client:
    """Connect in each codec: for what its frames and HTTP are like."""
    return Client(daemon.port, codec)


@pytest.fixture
def over_connect(client: Client) -> Processes:
    return Processes(client)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A named pipe the test opens to let a program go on, or a program writes to report."""
    made = Gate(tmp_path)
    yield made
    made.close()
