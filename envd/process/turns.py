"""Work on the loop that is long as a whole, done a little in each of its turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TypeVar

_TURN_S = 0.001

_Piece = TypeVar("_Piece")


async def in_turns(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Return all pieces, which are made meanwhile; others have their turns after each millisecond."""
    made: list[_Piece] = []
    until = time.monotonic() + _TURN_S
    for piece in pieces:
        made.append(piece)
        if time.monotonic() >= until:
            await asyncio.sleep(0)
            until = time.monotonic() + _TURN_S
    return made
