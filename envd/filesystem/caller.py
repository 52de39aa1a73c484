"""The caller of a call: the user it acts for, and the meaning of its paths."""

from __future__ import annotations

from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.host.access import Access
from envd.host.names import NameCache
from envd.host.paths import resolve
from envd.host.session import Session
from envd.host.users import User

from .lossy_names import REPLACEMENT, check_meant
from .threads import Threads


@dataclass(frozen=True, slots=True)
class Caller:
    """The user a call acts for, on every wire.

    Attributes:
        user: to whom belongs what is made.
        default_directory: what an empty path means; empty: the home.
        names: what owners are called.
        helped: the daemon's own rights help where the user may not write and only root has a say.
    """

    user: User
    default_directory: str
    names: NameCache
    helped: bool = False

    def resolve(self, path: str, *, doing: str = "") -> str:
        """Return the absolute path a client means.

        Raises:
            EnvdError: INVALID_ARGUMENT for another user's home, or a NUL byte; its text begins with `doing`.
        """
        try:
            return resolve(path, self.user, self.default_directory)
        except EnvdError as exc:
            raise EnvdError(exc.code, f"{doing}: {exc.message}" if doing else exc.message) from exc

    async def path(self, text: str, threads: Threads, *, doing: str = "") -> str:
        """Return the absolute path a client means, checked for U+FFFD.

        Raises:
            EnvdError: as resolve; INVALID_ARGUMENT if it stands for bytes that are not UTF-8.
        """
        path = self.resolve(text, doing=doing)
        await check_path(path, self.user, threads)
        return path


async def check_path(path: str, user: User, threads: Threads) -> None:
    """Check an absolute path of a user's for U+FFFD.

    Raises:
        EnvdError: INVALID_ARGUMENT if it stands for bytes that are not UTF-8.
    """
    if REPLACEMENT in path:
        await threads.at(path).run(check_meant, path, user)


class Callers:
    """Finds who makes a call.

    Attributes:
        access: who may call at all.
    """

    def __init__(self, session: Session, access: Access, *, helped: bool) -> None:
        self.access = access
        self._session = session
        self._helped = helped
        self._names = NameCache()

    def of(self, username: str | None) -> Caller:
        """Return the caller that acts for a user, None for the default one.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none, PERMISSION_DENIED if the daemon cannot act for it.
        """
        return Caller(self._session.user(username), self._session.default_workdir, self._names, self._helped)

    async def load(self, username: str | None) -> Caller:
        """Return what `of` returns, once the account of that name was looked up.

        Raises:
            EnvdError: as `of`, in REST's words.
        """
        try:
            if username is not None:
                await self._session.load_user(username)
            return self.of(username)
        except EnvdError as exc:
            if exc.code is not Code.UNAUTHENTICATED:
                raise
            shown = self._session.default_user if username is None else username
            raise EnvdError(exc.code, f"error looking up user '{shown}': user: unknown user {shown}") from exc
