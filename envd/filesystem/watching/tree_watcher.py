"""The events of one tree, each told once, from the kernel's reports and from scans."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from envd.errors import Code, EnvdError

from .entry_budget import SnapshotBudget
from .events import ROOT, WatchSubscribers
from .inotify import Raw
from .raw_events import RawEvents
from .rescan import LIMBO_S, Course, Deps, Repair, Rescan
from .root_check import Departure, RootCheck
from .scanning import ScanStoppedError
from .watch_root import WatchRoot

# Reports that wait for a scan to end; beyond that they are lost, and the whole tree is looked at anew.
_WAITING = 65536
_SLICE = 64
_ROUNDS = 3


class TreeWatcher:
    """Tells a subscriber every change in one tree.

    It either takes reports as they come or, while it scans, has them wait: nothing overtakes.

    A directory that arrives is followed first, then scanned: reports of what the scan has found already say nothing
    new. A scan brings the snapshot up to the disk, whatever was missed; so it is also what repairs a loss.

    Attributes:
        frozen: its audience was full, and reports are not looked at until `recover`.
    """

    def __init__(self, top: WatchRoot, means: Deps, audience: WatchSubscribers) -> None:
        self._top = top
        self._means = means
        self._audience = audience
        self.account = SnapshotBudget(audience.tell, means.room, recursive=top.recursive)
        self._reports = RawEvents(self.account, recursive=top.recursive, gone=self._gone)
        self.frozen = False
        self._waiting: deque[Raw] | None = None
        self._errands: list[tuple[Callable[[], Awaitable[None]], asyncio.Future[None]]] = []
        self._releasing = False
        self._ended = False
        self._closed = False
        self._reach = Rescan(top, means, self.account, self)
        self._repair = Repair(top, means, self._reports, self._reach, audience)
        self._course = Course(self._breathe, self._gone, self._changed_elsewhere)

    # Its life.

    async def begin(self) -> None:
        """Follow; when this returns, every change from now on will be told.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if the kernel allows no more watches.
            ScanStoppedError: it was closed meanwhile, or the directory is gone.
        """
        self._look_out()
        self.account.quiet = True
        self._waiting = deque()
        self._repair.request()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._means.jobs.spawn(self._first(done), name="watch")
        await done

    def recover(self) -> None:
        """Tell all differences between what was told and what there is, and follow on; `recovered` says when."""
        self._look_out()
        self.frozen = False
        self._repair.lose()
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
        await self._repair.done()

    def close(self) -> None:
        """Stop following."""
        if self._closed:
            return
        self._closed = True
        self._means.lookout.remove(self)
        self._reach.close()
        self._repair.close()
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
            if not raw.name and self._reports.is_end(raw):
                self._repair.leaving = True
        else:
            self._waiting.clear()
            self._repair.lose()

    def overflowed(self) -> None:
        """Have the tree scanned, for reports were lost."""
        if not self.frozen and not self._closed:
            self._repair.lose()

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

    # What the lookout calls.

    def _look_out(self) -> None:
        if not self._closed and not self._top.remote:  # what is far away may never answer
            self._means.lookout.add(self)

    @property
    def real(self) -> str:
        """The path of the tree, with all links resolved."""
        return self._top.real

    def seen(self, root: RootCheck | None) -> None:
        """Scan again if the path does not lead to the tree any more.

        If that is something else, a directory above was renamed, or this one was removed while a program works in it:
        the kernel reports neither.
        """
        anchor = self._reach.anchor
        if self._waiting is not None or self.frozen or anchor is None:
            return
        if root is None or root.key != anchor.key:
            self._repair.doubt()
            self._start()

    # While reports wait.

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
        return self._repair.due or bool(self._errands) or self._reach.due

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
        """Scan and take what waits until nothing does; at most so many scans, but the whole tree if that is due."""
        while not self._closed and not self.frozen:
            if rounds == 0 and not self._repair.due_whole:
                break
            if not self._repair.due:
                if not self._waiting:
                    break
                await self._replay()
                continue
            if not await self._repair.scan(self._course):
                continue
            rounds = None if rounds is None else max(rounds - 1, 0)
            # What the kernel had to report when the scan was done is older than what the scan has found.
            self._reports.settling = True
            await self._means.hub.passed()
            await self._replay()

    async def _replay(self) -> None:
        """Take what has waited, until a directory arrives that must be scanned first."""
        waiting = self._waiting
        count = 0
        if waiting:
            await self._means.turns.mine()
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
        await self._means.turns.mine()

    def _changed_elsewhere(self, renamed: list[str]) -> None:
        """Look what has changed on a network file system."""
        if self._closed or self.frozen:
            return
        if self._waiting is None:
            for path in renamed:
                self.account.rename(path.removeprefix(self._top.real.rstrip("/") + "/"))
        self._repair.request()
        if self._waiting is None:
            self._start()

    def _gone(self, departure: Departure) -> None:
        """End, because the directory has left its path."""
        self.account.tell(departure.kind, ROOT)
        path, how = self._top.path, departure.how
        self._end(EnvdError(Code.NOT_FOUND, f"{path} was {how} while it was watched: watch again once it is there"))

    def _end(self, error: EnvdError) -> None:
        self._audience.ended(error)
        self.close()
