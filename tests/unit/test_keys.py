"""Typed bytes that wait for a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from envd.pty.keys import Keys

MIB = 1 << 20


class Slow:
    """Takes bytes when it is let."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.writes = 0
        self.free = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.free.wait()
        self.taken += data
        self.writes += 1


@asynccontextmanager
async def running(keys: Keys) -> AsyncIterator[None]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        job = group.create_task(keys.run())
        yield
        job.cancel()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_pieces_are_written_in_order_and_together_if_they_had_to_wait() -> None:
    slow = Slow()
    keys = Keys(slow.write)
    async with running(keys):
        for number in range(100):
            await keys.put(b"%d," % number)
        slow.free.set()
        await settle()
    assert slow.taken == b"".join(b"%d," % number for number in range(100))
    assert slow.writes <= 2


async def test_who_types_more_than_a_mebibyte_waits() -> None:
    slow = Slow()
    keys = Keys(slow.write)
    async with running(keys):
        await keys.put(bytes(MIB))
        typing = asyncio.create_task(keys.put(b"x"))
        await settle()
        assert not typing.done()
        slow.free.set()
        await typing
        await settle()
    assert len(slow.taken) == MIB + 1


async def test_one_larger_piece_has_room_of_its_own() -> None:
    slow = Slow()
    slow.free.set()
    keys = Keys(slow.write)
    async with running(keys):
        await keys.put(bytes(3 * MIB))
        await settle()
    assert len(slow.taken) == 3 * MIB


async def test_many_small_pieces_are_bounded_too() -> None:
    slow = Slow()
    keys = Keys(slow.write)
    async with running(keys):
        typing = asyncio.create_task(_type(keys, 3000))
        for _ in range(300):
            await settle()
        assert not typing.done()
        slow.free.set()
        await typing
        await settle()
    assert len(slow.taken) == 3000


async def _type(keys: Keys, count: int) -> None:
    for _ in range(count):
        await keys.put(b"x")
