"""The processors' share: the same for everyone who asks."""

from __future__ import annotations

import asyncio

import pytest

from envd.host import metrics
from envd.host.metrics import Meter, Processors, share


@pytest.mark.parametrize(
    ("busy", "total", "expected"),
    [(0, 100, 0.0), (50, 100, 50.0), (100, 100, 100.0), (101, 100, 100.0), (-1, 100, 0.0), (1, 0, 0.0), (0, 0, 0.0)],
)
def test_the_share_is_between_0_and_100(busy, total, expected):
    assert share(Processors(2, 1000, 5000), Processors(2, 1000 + busy, 5000 + total)) == expected


async def test_asking_often_changes_no_answer():
    meter = Meter()
    async with asyncio.TaskGroup() as jobs:
        watching = jobs.create_task(meter.watch())
        async with asyncio.timeout(metrics.PERIOD_S * 5):
            for _ in range(2):  # until a whole period has been seen
                await asyncio.sleep(metrics.PERIOD_S * 1.1)
            answers = {(await meter.measure()).cpu_used_pct for _ in range(20)}
        watching.cancel()
    assert len(answers) <= 2  # a period may have ended meanwhile


async def test_there_is_an_answer_before_the_first_period():
    usage = await Meter().measure()
    assert 0 <= usage.cpu_used_pct <= 100
    assert usage.cpu_count >= 1
