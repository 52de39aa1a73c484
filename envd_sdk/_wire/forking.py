"""What a fork does to grpc, and how one is kept from happening in the middle of something."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

# Seconds a fork waits for blocking calls of other threads. One takes about a millisecond, unless the daemon is away.
_PATIENCE_S = 1.0
_LOOK_AGAIN_S = 0.0005
# Where a thread that waits for a stream or an upload stands: it holds nothing of grpc's then.
_WAITING = threading.Condition.wait.__code__


class Fork:
    """Tells a forked child whether it can use grpc, and lets threads fork only while none is inside of grpc.

    What a thread holds in there at the moment of a fork is held in the child for ever, and grpc itself asks for it.

    Attributes:
        survivable: a child may use grpc: decided by grpc itself when it is loaded.
        generation: how many forks lie between the process that loaded the SDK and this one.
        trouble: why grpc cannot be used in this process; "" if it can.
        channels: those of this process.
    """

    def __init__(self) -> None:
        self.survivable = True
        self.generation = 0
        self.trouble = ""
        self.channels: WeakSet[Any] = WeakSet()
        # Channels of the processes this one was forked from. Letting go of one would close it, and that hangs here.
        self._abandoned: list[Any] = []
        self._disturbed = False
        self._begin()

    def _begin(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._forking = False

    @contextmanager
    def outside_of_forks(self) -> Iterator[None]:
        """Keep forks waiting, for a moment, while this thread is inside of grpc; and wait for one that has begun."""
        self.enter()
        try:
            yield
        finally:
            self.leave(threading.get_ident())

    def enter(self) -> None:
        """Go inside of grpc, in this thread and until `leave`; waits for a fork that has begun."""
        me = threading.get_ident()
        with self._changed:
            depth = self._inside.get(me, 0)
            while self._forking and not depth:
                self._changed.wait()
            self._inside[me] = depth + 1

    def leave(self, thread: int) -> None:
        """That thread is outside again, or has ended."""
        with self._changed:
            depth = self._inside.pop(thread, 1) - 1
            if depth:
                self._inside[thread] = depth

    def before(self) -> None:
        """A fork begins."""
        self._one_at_a_time.acquire()
        with self._changed:
            self._forking = True
        deadline = time.monotonic() + _PATIENCE_S
        while (busy := self._busy()) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)
        self._disturbed = busy
        if busy or not self.survivable:
            self._look_after_channels(on=False)

    def in_parent(self) -> None:
        if self._disturbed or not self.survivable:
            self._look_after_channels(on=True)
        with self._changed:
            self._forking = False
            self._changed.notify_all()
        self._one_at_a_time.release()

    def in_child(self) -> None:
        self.generation += 1
        self._abandoned += self.channels
        self.channels = WeakSet()
        self._begin()
        if "grpc" in sys.modules and not self.trouble:
            if not self.survivable:
                self.trouble = "from one that had used grpc, which cannot go on in a child"
            elif self._disturbed:
                self.trouble = "while another of its threads was in a call that did not end in time"

    def _busy(self) -> bool:
        """Whether another thread is inside of grpc, and not only waiting there for something to come."""
        others = [thread for thread in list(self._inside) if thread != threading.get_ident()]
        frames = sys._current_frames() if others else {}  # noqa: SLF001 - documented; there is no other way to see it
        return any(frame.f_code is not _WAITING for frame in map(frames.get, others) if frame is not None)

    def _look_after_channels(self, *, on: bool) -> None:
        """Have grpc see to the channels in a child, which takes locks that may be held there; or not."""
        if not self.channels:
            return
        from grpc._cython import cygrpc  # noqa: PLC0415 - loaded by now; it has no public name

        change = cygrpc.fork_register_channel if on else cygrpc.fork_unregister_channel
        for channel in list(self.channels):
            change(channel)


fork = Fork()
os.register_at_fork(before=fork.before, after_in_parent=fork.in_parent, after_in_child=fork.in_child)
