"""A call that failed, before it becomes an exception of the caller's."""

from __future__ import annotations


class WireError(Exception):
    """A call ended with something other than its answer.

    Attributes:
        code: the contract's name: "not_found", "unavailable", ...
        details: what the daemon, or the library, said.
    """

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details

    @property
    def lost(self) -> bool:
        """The connection or the daemon went away; whether the call was carried out is not known."""
        return self.code == "unavailable" or any(part in self.details for part in _BROKEN)

    @property
    def never_sent(self) -> bool:
        """There was no connection to send the call over."""
        return self.code == "unavailable" and self.details.startswith("failed to connect to all addresses")


class WireTimeoutError(WireError):
    """Nothing came within the time this side gave."""

    def __init__(self, details: str = "no answer in time") -> None:
        super().__init__("deadline_exceeded", details)


# What grpc says of a stream whose connection broke, or whose server was killed, with codes that others have too.
_BROKEN = (
    "Received RST_STREAM with error code 2",
    "Received RST_STREAM with error code 8",
    "Internal error from Core",
    "Stream removed",
    "Socket closed",
    "Connection reset",
)
