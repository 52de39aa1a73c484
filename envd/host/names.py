"""Names of owners and groups, as listings show them."""

from __future__ import annotations

import grp
import pwd
import time
from collections.abc import Callable
from concurrent.futures import Future

from envd.errors import EnvdError

from .accounts import Accounts, number_from
from .lookups import Lookups, find_group_name, find_user_name

_ANSWER_S = 0.25  # how long a listing waits for a directory service
_IMPATIENT_S = 5.0


class NameCache:
    """Looks names up by number; remembers them until /etc/passwd or /etc/group changes. For any thread.

    Names that are not in these files are asked of other sources, and waited for a quarter of a second at
    most once in five; until they come numbers are shown.
    """

    def __init__(self) -> None:
        self._accounts = Accounts()
        self._accounts.refresh()
        self._lookups = Lookups()
        self._owners: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._patient_from = 0.0

    def refresh(self) -> None:
        """Forget what may have changed; to be called once before a run of look-ups."""
        if self._accounts.refresh():
            self._owners, self._groups = {}, {}

    def owner(self, uid: int) -> str:
        """Return the name of a user, or the number if it has none."""
        name = self._owners.get(uid)
        if name is None:
            account = self._accounts.user_by_number(uid)
            if account is None and self._accounts.users_elsewhere:
                return self._ask("user", uid, lambda: find_user_name(uid), self._owners)
            name = self._owners[uid] = str(uid) if account is None else account.name
        return name

    def group(self, gid: int) -> str:
        """Return the name of a group, or the number if it has none."""
        name = self._groups.get(gid)
        if name is None:
            name = self._accounts.group_name(gid)
            if name is None and self._accounts.groups_elsewhere:
                return self._ask("group", gid, lambda: find_group_name(gid), self._groups)
            name = self._groups[gid] = str(gid) if name is None else name
        return name

    def at_hand(self, uid: int, gid: int) -> bool:
        """Tell whether the names of a user and a group can be returned without asking a source that may take long."""
        owner = uid in self._owners or not self._accounts.users_elsewhere
        group = gid in self._groups or not self._accounts.groups_elsewhere
        accounts = self._accounts
        return (owner or accounts.user_by_number(uid) is not None) and (group or accounts.group_name(gid) is not None)

    def _ask(self, kind: str, number: int, find: Callable[[], str | None], cache: dict[int, str]) -> str:
        """Return the name if it comes soon; otherwise the number, and the name another time."""

        def remember(answer: Future[str | None]) -> None:
            if answer.exception() is None:
                cache[number] = answer.result() or str(number)

        now = time.monotonic()
        try:
            answer = self._lookups.ask((kind, number), find)
            answer.add_done_callback(remember)
            return answer.result(0.0 if now < self._patient_from else _ANSWER_S) or str(number)
        except TimeoutError:
            self._patient_from = max(self._patient_from, now + _IMPATIENT_S)
        except (EnvdError, OSError, ValueError):
            pass  # nobody can tell now
        return str(number)


def owner_number(text: str) -> int | None:
    """Return the number of a user, given by name or in decimal; None if there is no such name. Blocks."""
    accounts = Accounts()
    accounts.refresh()
    account = accounts.user(text)
    if account is not None:
        return account.uid
    if accounts.users_elsewhere:
        try:
            return pwd.getpwnam(text).pw_uid
        except (KeyError, ValueError):
            pass
    return 0 if text == "root" else number_from(text)


def group_number(text: str) -> int | None:
    """Return the number of a group, given by name or in decimal; None if there is no such name. Blocks."""
    accounts = Accounts()
    accounts.refresh()
    number = accounts.group_number(text)
    if number is not None:
        return number
    if accounts.groups_elsewhere:
        try:
            return grp.getgrnam(text).gr_gid
        except (KeyError, ValueError):
            pass
    return 0 if text == "root" else number_from(text)
