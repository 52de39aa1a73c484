"""How each user sees the file system: what their paths mean, whose is what they make, what owners are called."""

from __future__ import annotations

from dataclasses import dataclass

from envd.host.names import Names
from envd.host.paths import resolve
from envd.host.session import Session
from envd.host.users import User

from .watching.placements import Placements


@dataclass(frozen=True, slots=True)
class View:
    """One user's.

    Attributes:
        user: to whom belongs what is made.
        workdir: what an empty path means; empty: the home.
        placements: told of files that are put in their places.
    """

    user: User
    workdir: str
    names: Names
    placements: Placements

    def resolve(self, path: str) -> str:
        """Return the absolute path a client means.

        Raises:
            EnvdError: INVALID_ARGUMENT for another user's home, or a NUL byte.
        """
        return resolve(path, self.user, self.workdir)


class Views:
    """Everybody's."""

    def __init__(self, session: Session, placements: Placements) -> None:
        self._session = session
        self._placements = placements
        self._names = Names()

    def of(self, username: str | None) -> View:
        """Return that of a user, None for the default one.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none, PERMISSION_DENIED if the daemon cannot act for it.
        """
        session = self._session
        return View(session.user(username), session.default_workdir, self._names, self._placements)
