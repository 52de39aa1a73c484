"""What the sandbox was told about itself: default user, default working directory, default environment."""

from __future__ import annotations

import os

from envd.errors import Code, EnvdError

from .users import User, Users, own_user

_DEFAULT_USER = "root"


class Session:
    """Defaults that every program starts from."""

    def __init__(self, users: Users, *, in_sandbox: bool) -> None:
        self._users = users
        self._own = own_user()
        self._privileged = os.geteuid() == 0
        self._path = os.environ.get("PATH", os.defpath)
        self.default_user = _DEFAULT_USER if self._privileged else self._own.name
        self.default_workdir = ""
        self.environment = {"E2B_SANDBOX": "true" if in_sandbox else "false"}

    def check_user(self, name: str) -> None:
        """Check a name the client gave.

        Raises:
            EnvdError: UNAUTHENTICATED if there is no such user.
        """
        if name != self._own.name or self._privileged:
            self._users.require(name)

    def user(self, name: str | None) -> User:
        """Return the account a call runs as; None for the default user.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none, PERMISSION_DENIED if a daemon without root cannot become it.
        """
        if not self._privileged:
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

    def environment_of(self, user: User, extra: dict[str, str]) -> dict[str, str]:
        """Return a program's whole environment: the user's, then the sandbox's defaults, then its own."""
        return {
            "PATH": self._path,
            "HOME": user.home,
            "USER": user.name,
            "LOGNAME": user.name,
            **self.environment,
            **extra,
        }
