"""Limits the archives that are made and extracted at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envd.errors import Code, EnvdError

_AT_ONCE = 64


class ArchiveLimit:
    """Admits 64 at once, for each holds descriptors and some megabytes; further calls are refused."""

    def __init__(self) -> None:
        self._running = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a turn for the length of a block.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED.
        """
        if self._running >= _AT_ONCE:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"{_AT_ONCE} archives are being sent or extracted: try again when one is done"
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
