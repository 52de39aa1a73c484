"""Session: default user, default working directory, environment and access token of the sandbox."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envd.errors import Code, EnvdError

from .access import Access
from .record import Record
from .unreadable import UNREADABLE, known_fields
from .users import User, Users, own_user

log = logging.getLogger("envd.session")

_DEFAULT_USER = "root"
_VERSION = 2  # 0.7.0 wrote none
_KINDS: dict[str, Any] = {
    "token": str | None,
    "variables": dict,
    "default_user": str,
    "default_workdir": str,
    "timestamp_ns": int | None,
    "initialized": bool,
}

# The daemon's own variables, also those it has not set.
OWN_VARIABLES = frozenset({"E2B_SANDBOX", "E2B_SANDBOX_ID", "E2B_TEMPLATE_ID", "E2B_EVENTS_ADDRESS"})


@dataclass(frozen=True, slots=True)
class SessionState:
    """All that initialisation sets. Never changed, only replaced.

    Attributes:
        token: that calls need, None for none.
        variables: those that every process gets.
        default_user: empty if none was set.
        default_workdir: empty if none was set.
        timestamp_ns: the newest that was applied, in nanoseconds since 1970.
        initialized: true once it was set at all.
    """

    token: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    default_user: str = ""
    default_workdir: str = ""
    timestamp_ns: int | None = None
    initialized: bool = False

    def to_json(self) -> bytes:
        """Serialise for the record."""
        fields = {attribute.name: getattr(self, attribute.name) for attribute in dataclasses.fields(self)}
        return json.dumps({"version": _VERSION, **fields}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> SessionState:
        """Read back what to_json wrote, here or in another version.

        Raises:
            Exception: one of UNREADABLE; it does not say whether there is a token.
        """
        written = json.loads(data)
        fields = known_fields(cls, written)
        if not isinstance(fields["token"], str | None):
            raise TypeError("the token is none")
        for attribute in dataclasses.fields(cls):
            kind = _KINDS[attribute.name]
            if attribute.name in fields and not isinstance(fields[attribute.name], kind):
                del fields[attribute.name]
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The surroundings of a new process: its user, the default directory, the environment before its own variables."""

    user: User
    workdir: str
    environment: Mapping[str, str] = field(repr=False)


class Session:
    """Defaults that every process starts with; they outlive this server.

    A record that cannot be read is not an empty one, for nobody would know whether there was a token: then there is one
    that nobody has, and all that needs a token is refused. Processes run on.

    Args:
        access: gets the token.
        record: keeps the state.
        in_sandbox: what E2B_SANDBOX says.
    """

    def __init__(self, users: Users, access: Access, record: Record, *, in_sandbox: bool) -> None:
        self._users = users
        self._own = own_user()
        self._path = os.environ.get("PATH", os.defpath)
        self._own_variables = {"E2B_SANDBOX": "true" if in_sandbox else "false"}
        self._access = access
        self._record = record
        self.privileged = os.geteuid() == 0
        self.state = _read_state(record)
        access.replace(self.state.token)

    def replace(self, state: SessionState) -> None:
        """Set everything at once. Nobody sees some of it: nothing here waits.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there is no memory to keep it; then nothing has changed.
        """
        self._record.write(state.to_json())
        self.state = state
        self._access.replace(state.token)

    def require(self, token: str) -> None:
        """Set the access token, and nothing else.

        Raises:
            EnvdError: as `replace`.
        """
        self.replace(dataclasses.replace(self.state, token=token))

    @property
    def default_user(self) -> str:
        """The name of the user of calls that name none."""
        if not self.privileged:
            return self._own.name
        return self.state.default_user or _DEFAULT_USER

    @property
    def default_workdir(self) -> str:
        """The directory of empty paths, and of processes without one; empty: the user's home."""
        return self.state.default_workdir

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every process gets, of any user."""
        return {**self.state.variables, **self._own_variables}

    async def check_user(self, name: str) -> None:
        """Check a name the client gave; `user` knows it then. Off the loop where it takes time.

        Raises:
            EnvdError: UNAUTHENTICATED if there is no such user; UNAVAILABLE if no source can tell.
        """
        if name != self._own.name or self.privileged:
            await self._users.check(name)

    async def load_user(self, name: str | None = None) -> None:
        """Look up a user, None for the default one, so that `user` knows it.

        Raises:
            EnvdError: UNAVAILABLE if no source can tell.
        """
        if self.privileged:
            await self._users.load(name or self.default_user)

    def user(self, name: str | None) -> User:
        """Return the account a call runs as; None for the default user.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none, PERMISSION_DENIED if a daemon without root cannot become it.
        """
        if not self.privileged:
            if name not in (None, self._own.name):
                raise EnvdError(
                    Code.PERMISSION_DENIED,
                    f"cannot run as '{name}': the daemon is not root and can only act as '{self._own.name}'",
                )
            return self._own
        user = self._users.find(self.default_user) if name is None else self._users.require(name)
        if user is None:
            raise EnvdError(Code.UNAUTHENTICATED, f"invalid default user: '{self.default_user}'")
        return user

    def surroundings(self, name: str | None) -> Surroundings:
        """Return the surroundings for a process of that user, as they are now.

        Raises:
            EnvdError: as `user`.
        """
        user = self.user(name)
        own = {"PATH": self._path, "HOME": user.home, "USER": user.name, "LOGNAME": user.name}
        return Surroundings(user, self.default_workdir, {**own, **self.environment})


def _read_state(record: Record) -> SessionState:
    try:
        data = record.read()
        return SessionState.from_json(data) if data else SessionState()
    except UNREADABLE:
        log.exception("the settings of the sandbox cannot be read: all that needs an access token is refused")
        return SessionState(token=secrets.token_urlsafe(32), initialized=True)
