"""The address of a request to /files: its file, and the signature that permits it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from envd.filesystem.caller import Callers

Operation = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Address:
    """The query of a request to /files; None for what is absent. Bytes that are no UTF-8 are surrogate escapes."""

    path: str | None = None
    username: str | None = None
    signature: str | None = None
    signature_expiration: str | None = None

    def check(self, callers: Callers, operation: Operation, token: str | None) -> None:
        """Check token or signature.

        Raises:
            EnvdError: UNAUTHENTICATED, or INVALID_ARGUMENT for an expiration that is no number.
        """
        callers.access.allow_file(
            path=self.path,
            operation=operation,
            username=self.username,
            header=token,
            signature=self.signature,
            expiration=self.signature_expiration,
        )


def address_from_query(query: str) -> Address:
    """Read a raw query; of a parameter that is given twice the first counts, others are ignored."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name in Address.__slots__ and name not in found:
            found[name] = _decoded(value)
    return Address(**found)


def values_from_query(query: str, names: Collection[str]) -> dict[str, list[str]]:
    """Return all values of some parameters, in order; none for one that is absent."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name in found:
            found[name].append(_decoded(value))
    return found


def _decoded(text: str) -> str:
    raw = text.replace("+", " ").encode("latin-1", "replace")
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def percent_decoded(text: str) -> str:
    """Return a text of percent-encoded bytes; those that are no UTF-8 are surrogate escapes."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
