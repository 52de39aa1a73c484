"""Sends results to the server in batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

BATCH_BYTES = 64 * 1024
"""The bytes that fill a batch: it is sent at once."""

_BATCH_ITEMS = 1000
_BATCH_S = 0.05


class Outbox(Generic[T]):
    """Sends what is put into it: the first result at once, later ones when a batch is full or has waited for 50 ms.

    A thread looks for what waits, because the search itself may be in the midst of a large file, or of a directory that
    does not answer. Where there can be none, it waits for the next step of the search.

    Args:
        send: sends what was put, in order; called by one thread at a time.
    """

    def __init__(self, send: Callable[[list[T]], None]) -> None:
        self._send = send
        # A deque, and no lock to put something there: a search may be interrupted at any point (CpuLimit.step).
        self._waiting: deque[T] = deque()
        self._size = 0
        self._due = 0.0
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self._awake = False
        self._failure: Exception | None = None
        self._wake: SimpleQueue[None] = SimpleQueue()  # its put may be interrupted, too
        self._looking = threading.Thread(target=self._run, name="outbox", daemon=True)

    def put(self, item: T, size: int) -> None:
        """Take something of about so many bytes. Does not block."""
        self._waiting.append(item)
        self._size += size
        if not self._awake:
            self._awake = True
            self._wake.put(None)

    def breathe(self) -> None:
        """Send what has waited long enough, or is enough. May block. Raises what the thread failed with."""
        if self._failure:
            raise self._failure
        enough = self._size >= BATCH_BYTES or len(self._waiting) >= _BATCH_ITEMS
        if enough or (self._waiting and time.monotonic() > self._due):
            self.flush()

    def flush(self) -> None:
        """Send what waits. May block."""
        with self._sending:
            items = self.take()
            if items:
                self._send(items)
            self._due = time.monotonic() + _BATCH_S

    def take(self) -> list[T]:
        """Return what waits, instead of sending it."""
        self._size = 0
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _run(self) -> None:
        try:
            self._look()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the search fails with it: something was not sent
            self._failure = exc

    def _look(self) -> None:
        # It sleeps while nothing waits: a search that uses no processor time is known to be stuck by that.
        while True:
            self._wake.get()
            if self._ended.wait(_BATCH_S):
                return
            self._awake = False
            if self._waiting:
                self.flush()

    def __enter__(self) -> Self:
        try:
            self._looking.start()
        except RuntimeError:  # no thread to be had
            self._ended.set()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._ended.set()
        self._wake.put(None)
        if self._looking.ident is not None:
            self._looking.join()
        if self._failure and exc is None:
            raise self._failure
