"""TransportTimeouts: bounds of size and time for one connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransportTimeouts:
    """Bounds of one connection. Sizes in bytes, times in seconds."""

    header_bytes: int
    idle_s: float
    header_s: float
    body_idle_s: float
    peer_dead_s: float
