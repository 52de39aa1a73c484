"""Init: checks and applies the settings of a sandbox; an older caller does not undo a newer one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from envd import access_token
from envd.errors import Code, EnvdError

from . import paths
from .access import Access
from .session import OWN_VARIABLES, Session, SessionState

log = logging.getLogger("envd.host")

_VARIABLE_BYTES = 128 * 1024  # MAX_ARG_STRLEN, with '=' and a NUL; execve(2)
_AT_ONCE = 1000  # variables, without a pause


@dataclass(frozen=True, slots=True)
class InitSettings:
    """The settings that a caller asks for.

    Attributes:
        token: the current one, or the first; None for none.
        variables: replace those that were set before; None: they stay.
        default_user: empty: stays.
        default_workdir: empty: stays.
        timestamp_ns: when the caller decided this, in nanoseconds since 1970; None: it is always applied.
    """

    token: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] | None = field(default=None, repr=False)
    default_user: str = ""
    default_workdir: str = ""
    timestamp_ns: int | None = None


def check_token(token: str) -> str:
    """Return the token, if it can be one.

    Raises:
        EnvdError: INVALID_ARGUMENT.
    """
    if not access_token.is_valid(token):
        raise EnvdError(Code.INVALID_ARGUMENT, f"access token: {access_token.RULE}")
    return token


class Init:
    """Applies settings, one caller after the other; a caller that leaves before its turn changes nothing."""

    def __init__(self, session: Session, access: Access) -> None:
        self._session = session
        self._access = access
        self.turn = asyncio.Lock()

    async def apply(self, settings: InitSettings) -> bool:
        """Check everything, then change everything; return False if newer settings have been applied before.

        Raises:
            EnvdError: UNAUTHENTICATED if the token is not the current one, INVALID_ARGUMENT for what cannot be set.
                Then nothing has changed.
        """
        if settings.token is not None:
            check_token(settings.token)
        async with self.turn:
            self._authorise(settings.token)
            current = self._session.state
            if _is_stale(settings, current):
                return False
            if settings.default_user:
                await self._session.load_user(settings.default_user)
            self._check_defaults(settings)
            variables = current.variables if settings.variables is None else await _variables(settings.variables)
            state = _merged(current, settings, variables)
            self._session.replace(state)
        log.info("initialised", extra={"token_required": state.token is not None, "variables": len(state.variables)})
        return True

    def _authorise(self, token: str | None) -> None:
        if not self._access.required:
            return
        if token is None:
            raise EnvdError(Code.UNAUTHENTICATED, "access token reset not authorized")
        if not self._access.is_token(token):
            raise EnvdError(Code.UNAUTHENTICATED, "access token validation failed")

    def _check_defaults(self, settings: InitSettings) -> None:
        if not (settings.default_user or settings.default_workdir):
            return
        try:
            user = self._session.user(settings.default_user or None)
        except EnvdError as exc:
            raise EnvdError(Code.INVALID_ARGUMENT, f"default user: {exc.message}") from exc
        paths.resolve(settings.default_workdir, user)


def _is_stale(settings: InitSettings, current: SessionState) -> bool:
    return (
        settings.timestamp_ns is not None
        and current.timestamp_ns is not None
        and settings.timestamp_ns < current.timestamp_ns
    )


def _merged(current: SessionState, settings: InitSettings, variables: Mapping[str, str]) -> SessionState:
    return SessionState(
        token=settings.token,
        variables=variables,
        default_user=settings.default_user or current.default_user,
        default_workdir=settings.default_workdir or current.default_workdir,
        timestamp_ns=current.timestamp_ns if settings.timestamp_ns is None else settings.timestamp_ns,
        initialized=True,
    )


async def _variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are not the daemon's own; others have their turn in between.

    Raises:
        EnvdError: INVALID_ARGUMENT for one that no process could be started with.
    """
    accepted = {}
    for number, (name, value) in enumerate(variables.items(), 1):
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise EnvdError(
                Code.INVALID_ARGUMENT,
                f"{name!r} cannot be an environment variable: its name is empty or has '=', or there is a NUL in it",
            )
        if len(name.encode()) + len(value.encode()) + 2 > _VARIABLE_BYTES:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"variable {name[:64]!r} is larger than a process can be given, 128 KiB"
            )
        if name not in OWN_VARIABLES:
            accepted[name] = value
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return accepted
