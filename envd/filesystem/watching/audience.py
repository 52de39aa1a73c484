"""Who is told of the changes in one tree."""

from __future__ import annotations

from typing import Protocol

from envd.errors import EnvdError

from .events import EventKind


class WatchSubscribers(Protocol):
    """Who is told."""

    @property
    def full(self) -> bool:
        """It can take no more for now."""

    def tell(self, kind: EventKind, name: str, state: int, /) -> None:
        """Take a change."""

    def told(self) -> None:
        """There is no more for now."""

    def lost(self, *, worthless: bool) -> None:
        """Note that changes were lost. What comes next makes up for them, unless all that was told is worthless now."""

    def ended(self, error: EnvdError) -> None:
        """There will never be more."""
