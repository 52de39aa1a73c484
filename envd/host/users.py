"""The machine's users."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

from envd.errors import Code, EnvdError

from .accounts import Accounts, PasswdEntry, number_from
from .lookups import Lookups, find_user

log = logging.getLogger("envd.host")

_ANSWER_S = 5.0  # how long a call waits for a directory service
_KNOWN_S = 60.0  # what one has said of a user holds
_UNKNOWN_S = 5.0  # ... that there is none
_KEPT = 4096
_ROOT = "root"


@dataclass(frozen=True, slots=True)
class User:
    """One account: numeric ids, all its groups, and its home directory."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class _Answer:
    user: User | None
    expires_at: float


class Users:
    """Looks accounts up by name. On the loop, which a slow directory service never holds up.

    What /etc/passwd says is read from there at once, and so are the groups in /etc/group unless other sources may know
    more. Those are asked in threads; what they say is remembered for a minute, that they know nobody for five seconds.
    A number in decimal that is nobody's name is the user of that number, and root is there without any file.
    """

    def __init__(self) -> None:
        self._accounts = Accounts()
        self._lookups = Lookups()
        self._answers: dict[str, _Answer] = {}  # from elsewhere
        self._local: dict[str, User] = {}

    async def load(self, name: str) -> User | None:
        """Return the account of that name, asking all sources; None if there is none.

        Raises:
            EnvdError: UNAVAILABLE if one does not answer.
        """
        local = self._find_local(name)
        if not (self._accounts.users_elsewhere if local is None else self._accounts.groups_elsewhere):
            return local or _by_number(name)
        answer = self._answers.get(name)
        if answer is not None and time.monotonic() < answer.expires_at:
            return answer.user
        try:
            return await self._ask(name)
        except (TimeoutError, OSError, ValueError) as exc:
            fallback = self.find(name)
            if fallback is None:
                raise EnvdError(
                    Code.UNAVAILABLE, f"user '{name[:80]}' cannot be looked up: the user database does not answer"
                ) from exc
            log.warning("the user database does not answer: going by what is known of a user")
            return fallback

    def find(self, name: str) -> User | None:
        """Return the account of that name as far as it is known now: what /etc says, and what was loaded."""
        local = self._find_local(name)
        answer = self._answers.get(name)
        if answer is not None and answer.user is not None and (local is None or local.uid == answer.user.uid):
            return answer.user
        return local or _by_number(name)

    def require(self, name: str) -> User:
        """Return the account a client named, as `find`.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none.
        """
        return _required(name, self.find(name))

    async def check(self, name: str) -> None:
        """Check that there is an account of that name; `find` knows it then.

        Raises:
            EnvdError: UNAUTHENTICATED if there is none; as `load`.
        """
        _required(name, await self.load(name))

    def _find_local(self, name: str) -> User | None:
        if self._accounts.refresh():
            self._local.clear()
            self._answers = {name: _Answer(answer.user, 0.0) for name, answer in self._answers.items() if answer.user}
        user = self._local.get(name)
        if user is not None:
            return user
        account = self._accounts.user(name)
        number = number_from(name)
        if account is None and number is not None:
            account = self._accounts.user_by_number(number)
        if account is None:
            return _root() if number == 0 or name == _ROOT else None
        user = self._local[name] = _user(account, self._accounts.groups_of(account.name, account.gid))
        return user

    async def _ask(self, name: str) -> User | None:
        account_and_groups = await self._lookups.answer(name, lambda: find_user(name, number_from(name)), _ANSWER_S)
        user = _by_number(name) if account_and_groups is None else _user(*account_and_groups)
        if len(self._answers) >= _KEPT:
            self._answers.pop(next(iter(self._answers)))
        self._answers[name] = _Answer(user, time.monotonic() + (_UNKNOWN_S if account_and_groups is None else _KNOWN_S))
        return user


def _required(name: str, user: User | None) -> User:
    if user is None:
        raise EnvdError(Code.UNAUTHENTICATED, f"invalid username: '{name}'")
    return user


def _user(account: PasswdEntry, groups: tuple[int, ...]) -> User:
    return User(account.name, account.uid, account.gid, groups, account.home)


def _by_number(text: str) -> User | None:
    """Return the user of a number in decimal that no account has."""
    uid = number_from(text)
    return None if uid is None else User(str(uid), uid, uid, (uid,), "/")


def _root() -> User:
    """Return the user that needs no account."""
    return User(_ROOT, 0, 0, (0,), "/root" if os.path.isdir("/root") else "/")


def own_user() -> User:
    """Return the account the daemon itself runs as; one without a passwd entry is named by its number."""
    uid, groups = os.geteuid(), tuple(os.getgroups())
    accounts = Accounts()
    accounts.refresh()
    account = accounts.user_by_number(uid)
    if account is not None:
        return User(account.name, uid, os.getegid(), groups, account.home)
    nobody = _root() if uid == 0 else User(str(uid), uid, os.getegid(), groups, "/")
    return User(nobody.name, uid, os.getegid(), groups, os.environ.get("HOME", nobody.home))
