"""Long work on the event loop, done a little in each of its turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TypeVar

_TURN_S = 0.001

_Piece = TypeVar("_Piece")


async def in_turns(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Return all pieces, which are made meanwhile; others have their turns after each millisecond."""
    results: list[_Piece] = []
    turn_end = time.monotonic() + _TURN_S
    for piece in pieces:
        results.append(piece)
        if time.monotonic() >= turn_end:
            await asyncio.sleep(0)
            turn_end = time.monotonic() + _TURN_S
    return results
