"""Questions to directory services (LDAP, sssd), which may answer late or never: in threads of their own."""

from __future__ import annotations

import asyncio
import ctypes
import grp
import os
import pwd
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from envd.errors import Code, EnvdError

from .accounts import PasswdEntry
from .thread_ids import begin_thread

T = TypeVar("T")

_THREADS = 8
_WAITING = 256
_MOST_GROUPS = 65536  # NGROUPS_MAX of linux/limits.h

_libc = ctypes.CDLL(None, use_errno=True)


class Lookups:
    """Asks in at most 8 threads. A question that is being asked already is not asked again: the answer is shared.

    The threads do not keep the process from ending.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[Hashable, Future[Any]] = {}
        self._queue: SimpleQueue[tuple[Hashable, Callable[[], Any]]] = SimpleQueue()
        self._threads = 0

    def ask(self, question: Hashable, find: Callable[[], T]) -> Future[T]:
        """Have a question answered by `find`, in a thread.

        Raises:
            EnvdError: UNAVAILABLE if too many have not been answered yet.
        """
        with self._lock:
            pending = self._pending.get(question)
            if pending is not None:
                return pending
            if len(self._pending) >= _WAITING:
                raise EnvdError(Code.UNAVAILABLE, "too many users are being looked up: the user database is slow")
            answer: Future[T] = Future()
            self._pending[question] = answer
            if self._threads < min(len(self._pending), _THREADS):
                with suppress(RuntimeError):  # no more processes: those that there are have to do
                    threading.Thread(target=self._answer, name="lookups", daemon=True).start()
                    self._threads += 1
        self._queue.put((question, find))
        return answer

    async def answer(self, question: Hashable, find: Callable[[], T], timeout_s: float) -> T:
        """Return the answer to a question.

        Raises:
            EnvdError: as `ask`.
            TimeoutError: it has not come.
        """
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(asyncio.wrap_future(self.ask(question, find)))

    def _answer(self) -> None:
        begin_thread()  # the caller may be acting as a user
        while True:
            question, find = self._queue.get()
            value, failure = None, None
            try:
                value = find()
            except (OSError, ValueError) as exc:  # what the modules pwd and grp raise beside KeyError
                failure = exc
            with self._lock:
                answer = self._pending.pop(question)
            if failure is None:
                answer.set_result(value)
            else:
                answer.set_exception(failure)


def find_user(name: str, uid: int | None = None) -> tuple[PasswdEntry, tuple[int, ...]] | None:
    """Return an account with its groups, from any source, by its name, or else its number. Blocks."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        if uid is None:
            return None
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return None
    account = PasswdEntry(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir or "/")
    return account, groups_of(account.name, account.gid)


def find_user_name(uid: int) -> str | None:
    """Return the name of a user, from any source. Blocks."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def find_group_name(gid: int) -> str | None:
    """Return the name of a group, from any source. Blocks."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def groups_of(name: str, gid: int) -> tuple[int, ...]:
    """Return the groups of an account, from any source. Blocks.

    Not by os.getgrouplist, which holds the interpreter meanwhile. Source: getgrouplist(3).
    """
    count = ctypes.c_int(64)
    while True:
        room = (ctypes.c_uint32 * count.value)()
        size = count.value
        if _libc.getgrouplist(os.fsencode(name), ctypes.c_uint32(gid), room, ctypes.byref(count)) >= 0:
            return tuple(room[: count.value])
        if size >= _MOST_GROUPS:
            return (gid,)
        count.value = min(max(count.value, 2 * size), _MOST_GROUPS)
