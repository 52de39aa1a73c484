from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.colours import COLOURS, Colour
from tests.support.daemon import Daemon


@pytest.fixture(params=COLOURS, ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Colour:
    found: Colour = request.param
    return found


@pytest.fixture
async def sandbox(colour: Colour, daemon: Daemon) -> AsyncIterator[object]:
    """The shared daemon through each half of the SDK."""
    made = await colour.call(colour.sandbox.connect_local, daemon.address)
    yield made
    await colour.call(made.close)
