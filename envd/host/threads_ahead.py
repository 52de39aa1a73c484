"""Threads that are there before they are needed, for the time when the machine can make no more.

A fork bomb uses up the processes and threads a sandbox may have. Ending it takes a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from .thread_ids import begin_thread


class Reserve:
    """Starts threads, at first those that wait already, for when no more can be made. For any thread.

    Args:
        count: how many wait at most.
    """

    def __init__(self, count: int) -> None:
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        try:
            for _ in range(count):
                threading.Thread(target=self._wait, name="ahead", daemon=True).start()
                self._waiting += 1
        except RuntimeError:
            pass  # so many there can be

    def start(self, work: Callable[[], object]) -> bool:
        """Run work in a thread of its own: one that waits, else a new one; False if there can be none now."""
        with self._lock:
            if self._waiting:
                self._waiting -= 1
                self._inbox.put(work)
                return True
        try:
            threading.Thread(target=_begun, args=(work,), name="files", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _wait(self) -> None:
        begin_thread()
        while True:
            self._inbox.get()()
            with self._lock:
                self._waiting += 1


def _begun(work: Callable[[], object]) -> None:
    begin_thread()  # the thread that starts it may be acting as a user
    work()


class ReadyPool(ThreadPoolExecutor):
    """An executor that goes on with the threads it has where no more can be made.

    ThreadPoolExecutor raises then, though it has queued the work.

    Args:
        at_most: how many threads there may be.
        ahead: how many are started now.
    """

    def __init__(self, at_most: int, ahead: int, *, name: str) -> None:
        super().__init__(at_most, thread_name_prefix=name)
        begin = threading.Event()
        try:
            for _ in range(ahead):
                self.submit(begin.wait)  # each keeps one thread busy, so the next gets another
        except RuntimeError:
            pass  # not even one: the next submit tries again
        begin.set()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise
