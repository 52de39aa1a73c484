"""A gibibyte up and down through the published `e2b` packages, and how much memory the daemon takes for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.daemon import running_daemon
from tests.support.faults import peak_bytes
from tests.support.sdk import GIGABYTE_TIMEOUT_S, send_gigabyte
from tests.support.tools import INSTALL_TIMEOUT_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(INSTALL_TIMEOUT_S + GIGABYTE_TIMEOUT_S)]

GIB = 1024**3
MIB = 1024**2
GROWTH_BYTES = 24 * MIB


@pytest.mark.parametrize("kind", ["sync", "async", pytest.param("node", marks=pytest.mark.tools)])
async def test_a_gibibyte_goes_up_and_down_unharmed_in_little_memory(kind: str, tmp_path: Path):
    path = tmp_path / "gigabyte"
    async with running_daemon() as daemon:
        server = daemon.server_pid()
        before = peak_bytes(server)
        found = await asyncio.to_thread(send_gigabyte, kind, path, daemon)
        peak = peak_bytes(server)
    assert os.path.getsize(path) == GIB
    path.unlink()
    assert found["sent"] == found["received"]
    print(f"\n{kind}: sent {found['sent']}, received the same; MiB before {before / MIB:.1f}, at most {peak / MIB:.1f}")
    assert peak - before <= GROWTH_BYTES
