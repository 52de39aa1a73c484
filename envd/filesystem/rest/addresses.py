"""Which file a request to /files is about, and on whose behalf."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from envd.errors import Code, EnvdError
from envd.filesystem.lossy_names import REPLACEMENT, check_meant
from envd.filesystem.threads import Threads
from envd.host.access import Access
from envd.host.paths import resolve
from envd.host.session import Session
from envd.host.users import User

Operation = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Address:
    """The query of a request to /files; None for what is absent. Bytes that are no UTF-8 are surrogate escapes."""

    path: str | None = None
    username: str | None = None
    signature: str | None = None
    signature_expiration: str | None = None


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


async def meant(path: str, user: User, threads: Threads) -> str:
    """Return an absolute path of a user's that was checked for U+FFFD.

    Raises:
        EnvdError: INVALID_ARGUMENT if it stands for bytes that are not UTF-8.
    """
    if REPLACEMENT in path:
        await threads.at(path).run(check_meant, path, user)
    return path


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where paths of theirs that are empty lead; `helped` as in views.View."""

    user: User
    workdir: str
    helped: bool = False

    def path(self, text: str, *, doing: str) -> str:
        """Return the absolute path they mean.

        Raises:
            EnvdError: INVALID_ARGUMENT.
        """
        try:
            return resolve(text, self.user, self.workdir)
        except EnvdError as exc:
            raise EnvdError(exc.code, f"{doing}: {exc.message}") from exc


class Addresses:
    """Checks who asks."""

    def __init__(self, session: Session, access: Access, *, helped: bool) -> None:
        self._session = session
        self._helped = helped
        self._access = access

    def allow(self, address: Address, operation: Operation, token: str | None) -> None:
        """Check token or signature.

        Raises:
            EnvdError: UNAUTHENTICATED, or INVALID_ARGUMENT for an expiration that is no number.
        """
        self._access.allow_file(
            path=address.path,
            operation=operation,
            username=address.username,
            header=token,
            signature=address.signature,
            expiration=address.signature_expiration,
        )

    async def caller(self, name: str | None) -> Caller:
        """Return who asks: the account of that name, the default user's for None.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none.
        """
        try:
            if name is not None:
                await self._session.load_user(name)
            return Caller(self._session.user(name), self._session.default_workdir, self._helped)
        except EnvdError as exc:
            if exc.code is not Code.UNAUTHENTICATED:
                raise
            shown = self._session.default_user if name is None else name
            raise EnvdError(exc.code, f"error looking up user '{shown}': user: unknown user {shown}") from exc
