"""How each user sees the file system: what their paths mean, whose is what they make, what owners are called."""

from __future__ import annotations

from dataclasses import dataclass

from envd.host.names import NameCache
from envd.host.paths import resolve
from envd.host.session import Session
from envd.host.users import User


@dataclass(frozen=True, slots=True)
class View:
    """One user's.

    Attributes:
        user: to whom belongs what is made.
        workdir: what an empty path means; empty: the home.
        helped: the daemon's own rights help where the user may not write and only root has a say.
    """

    user: User
    workdir: str
    names: NameCache
    helped: bool = False

    def resolve(self, path: str) -> str:
        """Return the absolute path a client means.

        Raises:
            EnvdError: INVALID_ARGUMENT for another user's home, or a NUL byte.
        """
        return resolve(path, self.user, self.workdir)


class Views:
    """Everybody's."""

    def __init__(self, session: Session, *, helped: bool) -> None:
        self._session = session
        self._helped = helped
        self._names = NameCache()

    def of(self, username: str | None) -> View:
        """Return that of a user, None for the default one.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none, PERMISSION_DENIED if the daemon cannot act for it.
        """
        return View(self._session.user(username), self._session.default_workdir, self._names, self._helped)
