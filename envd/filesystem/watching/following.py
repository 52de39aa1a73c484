"""Following one tree: the kernel's reports and what scans find become changes, each told once."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from envd.errors import Code, EnvdError

from .account import Account
from .events import ROOT, Kind
from .inotify import Raw
from .picture import DIRECTORY, same_inode, state_of
from .polling import INTERVAL_S, Poller
from .reach import LIMBO_S, Means, Reach
from .reports import Reports
from .scanning import ScanStoppedError
from .tops import Top

log = logging.getLogger("envd.filesystem.watching")

# Reports that wait for a scan to end; beyond that they are lost, and the whole tree is looked at anew.
_WAITING = 65536
_SLICE = 64
_ROUNDS = 3
_CHECK_S = 1.0


class Audience(Protocol):
    """Who is told."""

    @property
    def full(self) -> bool:
        """It can take no more for now."""

    def tell(self, kind: Kind, name: str, state: int, /) -> None:
        """Take a change."""

    def told(self) -> None:
        """There is no more for now."""

    def lost(self, *, worthless: bool) -> None:
        """Note that changes were lost. What comes next makes up for them, unless all that was told is worthless now."""

    def ended(self, error: EnvdError) -> None:
        """There will never be more."""


class Following:
    """Follows one tree. It either takes reports as they come or, while it scans, has them wait: nothing overtakes.

    A directory that arrives is followed first, then scanned: reports of what the scan has found already say nothing
    new. A scan brings the picture up to the disk, whatever was missed; so it is also what repairs a loss.

    Attributes:
        frozen: its audience was full, and reports are not looked at until `recover`.
    """

    def __init__(self, top: Top, means: Means, audience: Audience) -> None:
        self._top = top
        self._means = means
        self._audience = audience
        self.account = Account(audience.tell, means.room, recursive=top.recursive)
        self._reports = Reports(self.account, recursive=top.recursive, gone=self._gone)
        self.frozen = False
        self._waiting: deque[Raw] | None = None
        self._recovered = asyncio.Event()
        self._recovered.set()
        self._errands: list[tuple[Callable[[], Awaitable[None]], asyncio.Future[None]]] = []
        self._again = False
        self._releasing = False
        self._checked_at = time.monotonic()
        self._ended = False
        self._closed = False
        self._reach = Reach(top, means, self.account, self)
        self._poller: Poller | None = None

    # Its life.

    async def begin(self) -> None:
        """Follow; when this returns, every change from now on will be told.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if the kernel allows no more watches.
            ScanStoppedError: it was closed meanwhile, or the directory is gone.
        """
        self.account.quiet = True
        self._waiting = deque()
        self._again = True
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._means.jobs.spawn(self._first(done), name="watch")
        await done

    def recover(self) -> None:
        """Tell all differences between what was told and what there is, and follow on; `recovered` says when."""
        self.frozen = False
        self._lose()
        if self._waiting is None:
            self._start()

    async def undisturbed(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something while the picture stays as it is; reports wait."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._errands.append((work, done))
        if self._waiting is None:
            self._start()
        await done

    async def recovered(self) -> None:
        """Wait until all differences that are known to be there were told."""
        await self._recovered.wait()

    async def check(self) -> None:
        """Look whether the directory is still there: as long as a program works in it, the kernel does not say."""
        if self._top.remote or self._waiting is not None or self._checked_at + _CHECK_S > time.monotonic():
            return
        self._checked_at = time.monotonic()
        if not await self._means.threads.run(self._is_there):
            await self._means.hub.passed()  # perhaps the kernel has said it, or says how
            if not self._closed:
                self.account.tell(Kind.REMOVE, ROOT)
                self._gone("removed")

    def _is_there(self) -> bool:
        try:
            return same_inode(self.account.root.state, state_of(os.stat(self._top.real)))
        except OSError:
            return False

    def close(self) -> None:
        """Stop following."""
        if self._closed:
            return
        self._closed = True
        self._recovered.set()
        self._reach.close()
        if self._poller is not None:
            self._poller.stop()
        if self._waiting is None:
            self._start()

    # What the hub calls.

    def take(self, raw: Raw) -> None:
        """Take one report."""
        if self.frozen or self._closed:
            return
        if self._waiting is None and self._reports.must_wait(raw):
            self._start()
        if self._waiting is None:
            self._reports.take(raw)
        elif len(self._waiting) < _WAITING:
            self._waiting.append(raw)
        else:
            self._waiting.clear()
            self._lose()

    def overflowed(self) -> None:
        """Note that reports were lost."""
        if not self.frozen and not self._closed:
            self._lose()

    def settle(self) -> None:
        """Act on what was taken."""
        if self._closed or self.frozen:
            if self._waiting is None and self._errands:
                self._start()
            return
        if self._waiting is None:
            if self._pending():
                self._start()
            elif self.account.loose and not self._releasing:
                # Not at once: a directory that leaves one name has another a moment later.
                self._releasing = True
                asyncio.get_running_loop().call_later(LIMBO_S, self._release_now)
        self._audience.told()
        self.frozen = self._audience.full

    # Scanning.

    def _lose(self) -> None:
        # Without a picture the client must list for itself, but only once changes behind its listing will be told.
        if not self._again and not self.account.quiet and self.account.whole:
            self._audience.lost(worthless=False)
        self._again = True
        self._recovered.clear()
        self._reports.arrived.clear()

    def _start(self) -> None:
        self._waiting = deque()
        self._means.jobs.spawn(self._work(), name="watch")

    def _release_now(self) -> None:
        self._releasing = False
        if self._waiting is None and self.account.loose:
            self._start()

    async def _first(self, done: asyncio.Future[None]) -> None:
        try:
            await self._catch_up(_ROUNDS)
        except (EnvdError, ScanStoppedError) as exc:
            if not done.done():
                done.set_exception(exc)
        finally:
            self.account.quiet = False
            if not done.done():
                done.set_result(None)
            if self._waiting and not self._closed:
                self._means.jobs.spawn(self._work(), name="watch")  # they never stop to make directories
            else:
                self._go_on()

    async def _work(self) -> None:
        try:
            # Reports come while something is waited for, also here: none may be left behind.
            while self._waiting or self._pending():
                await self._catch_up()
                await self._run_errands()
                await self._reach.release()
                if self._closed or self.frozen:
                    break
        except ScanStoppedError:
            pass
        except EnvdError as exc:
            self._end(exc)
        finally:
            self._go_on()

    def _pending(self) -> bool:
        return bool(self._again or self._reports.arrived or self._errands) or self._reach.due

    async def _run_errands(self) -> None:
        while self._errands:
            work, done = self._errands.pop(0)
            try:
                if not self._closed:
                    await work()
            finally:
                if not done.done():
                    done.set_result(None)

    def _go_on(self) -> None:
        """Take reports as they come again."""
        self._waiting = None
        if not self._closed:
            self.settle()
        elif not self._ended:
            self._ended = True
            self.account.close()
            self._start()

    async def _catch_up(self, rounds: int | None = None) -> None:
        """Scan and take what waits until nothing does; at most so many scans, but one."""
        while not self._closed and not self.frozen:
            if self._again:
                self._again = False
                await self._scan_all()
            elif rounds == 0:
                break
            elif self._reports.arrived:
                await self._scan_arrivals()
            elif self._waiting:
                await self._replay()
                continue
            else:
                break
            rounds = None if rounds is None else max(rounds - 1, 0)
            # What the kernel had to report when the scan was done is older than what the scan has found.
            self._reports.settling = True
            await self._means.hub.passed()
            await self._replay()

    async def _scan_all(self) -> None:
        account, quiet = self.account, self.account.quiet
        if self._top.remote and self._poller is None:
            self._poller = Poller(self._changed_elsewhere)
            start = partial(self._poller.start, self._top.real, recursive=self._top.recursive)
            await self._means.threads.run(start)
        try:
            (found,), cut = await self._reach.walk([account.root])
        except EnvdError as exc:
            if quiet or not self._top.remote:
                raise
            log.warning("a network file system cannot be read", extra={"reason": exc.message})
            asyncio.get_running_loop().call_later(INTERVAL_S, self._changed_elsewhere, [])
            return
        if found is None:
            account.tell(Kind.REMOVE, ROOT)
            self._gone("removed")
            raise ScanStoppedError
        if cut and account.whole:
            account.give_up()
        root = account.root
        if root.state not in (DIRECTORY, found.state):
            account.tell(Kind.CHMOD, ROOT, found.state)
        account.quiet = quiet or not account.whole
        await account.merge(root, found, self._breathe)
        account.quiet = quiet
        if not account.whole and not quiet:
            self._audience.lost(worthless=True)
        self._recovered.set()

    async def _scan_arrivals(self) -> None:
        arrived, self._reports.arrived = self._reports.arrived, {}
        there = [directory for directory in arrived if not directory.gone]
        found, cut = await self._reach.walk(there)
        if cut:
            if self.account.whole:
                self.account.give_up()
            self._audience.lost(worthless=True)
        for directory, one in zip(there, found, strict=True):
            if one is not None and not directory.gone:
                await self.account.merge(directory, one, self._breathe, moved=arrived[directory])
        await self._reach.release()

    async def _replay(self) -> None:
        """Take what has waited, until a directory arrives that must be scanned first."""
        waiting = self._waiting
        count = 0
        while waiting and not self._closed:
            if self._reports.must_wait(waiting[0]):
                return
            self._reports.take(waiting.popleft())
            count += 1
            if count % _SLICE == 0:
                await self._breathe()
                if self._audience.full:
                    self.frozen = True
                    waiting.clear()
        self._reports.settling = False
        self.account.settled()

    async def _breathe(self) -> None:
        self._audience.told()
        await asyncio.sleep(0)

    def _changed_elsewhere(self, renamed: list[str]) -> None:
        """Look what has changed on a network file system."""
        if self._closed or self.frozen:
            return
        if self._waiting is None:
            for path in renamed:
                self.account.rename(path.removeprefix(self._top.real.rstrip("/") + "/"))
        self._again = True
        if self._waiting is None:
            self._start()

    def _gone(self, how: str) -> None:
        """End, because the directory has left its path."""
        path = self._top.path
        self._end(EnvdError(Code.NOT_FOUND, f"{path} was {how} while it was watched: watch again once it is there"))

    def _end(self, error: EnvdError) -> None:
        self._audience.ended(error)
        self.close()
