from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.concurrency import CONCURRENCIES, Concurrency
from tests.support.daemon import Daemon


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for these tests, whose login shells find an empty home.

    The SDK runs every command in a login shell, and here many are killed as soon as they have begun. What is in the
    files of whoever runs the tests may take a lock then, and keep it.
    """
    started = Daemon.start()
    connection = http.client.HTTPConnection("127.0.0.1", started.port)
    connection.request("POST", "/init", json.dumps({"envVars": {"HOME": str(tmp_path_factory.mktemp("home"))}}))
    assert connection.getresponse().status == 204
    connection.close()
    yield started
    started.stop()
    errors = [line for line in started.stderr if '"level": "error"' in line]
    assert not errors, "the daemon logged what it takes for bugs of its own:\n" + "\n".join(errors)


@pytest.fixture(params=CONCURRENCIES, ids=lambda concurrency: concurrency.name)
def concurrency(request: pytest.FixtureRequest) -> Concurrency:
    found: Concurrency = request.param
    return found


@pytest.fixture
async def sandbox(concurrency: Concurrency, daemon: Daemon) -> AsyncIterator[object]:
    """The shared daemon through each half of the SDK."""
    made = await concurrency.call(concurrency.sandbox.connect_local, daemon.address)
    yield made
    await concurrency.call(made.close)
