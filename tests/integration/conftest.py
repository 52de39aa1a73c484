from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.process import Processes


@pytest.fixture
async def own_daemon() -> AsyncIterator[Daemon]:
    """A daemon of this test alone, for it is going to be hurt."""
    async with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def own(own_daemon: Daemon) -> Processes:
    return Processes(Client(own_daemon.port, Codec.PROTO))
