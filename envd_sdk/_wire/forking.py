"""Keeps forks from happening inside grpc, and tells the child whether it can use grpc."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakSet

# Seconds a fork waits for blocking calls of other threads. One takes about a millisecond, unless the daemon is away.
_PATIENCE_S = 1.0
_LOOK_AGAIN_S = 0.0005
# What the library calls the function its threads run.
_GRPC_THREAD = "channel_spin"
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
        self._calls: WeakSet[Any] = WeakSet()
        # Calls that are held while a fork happens: none may be freed in the child.
        self._held_calls: list[Any] = []
        # Threads that were ever inside of grpc, here.
        self._users: set[int] = set()
        self._disturbance = ""
        self._frozen = False
        self._begin()

    def _begin(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._users.clear()
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
            self._users.add(me)

    def leave(self, thread: int) -> None:
        """That thread is outside again, or has ended."""
        with self._changed:
            depth = self._inside.pop(thread, 1) - 1
            if depth:
                self._inside[thread] = depth

    def know(self, call: Any) -> None:
        """Register a call of the library's that lives on when this thread leaves."""
        with self._changed:
            self._calls.add(call)

    def before(self) -> None:
        """A fork begins."""
        self._one_at_a_time.acquire()
        with self._changed:
            self._forking = True
        deadline = time.monotonic() + _PATIENCE_S
        while (busy := self._busy()) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_S)
        self._disturbance = self._disturbed(busy=busy)
        if self._disturbance or not self.survivable:
            self._look_after_channels(on=False)
        with self._changed:
            self._held_calls = [*self._calls]
        self._frozen = "grpc" in sys.modules
        if self._frozen:
            # Garbage of now is the parent's to collect: in a child, objects of grpc's wait for threads for ever.
            gc.freeze()

    def in_parent(self) -> None:
        if self._frozen:
            gc.unfreeze()
        self._held_calls = []
        if self._disturbance or not self.survivable:
            self._look_after_channels(on=True)
        with self._changed:
            self._forking = False
            self._changed.notify_all()
        self._one_at_a_time.release()

    def in_child(self) -> None:
        self.generation += 1
        _never_let_go([self._held_calls, *self.channels])
        self._held_calls, self._calls, self.channels = [], WeakSet(), WeakSet()
        self._begin()
        if "grpc" in sys.modules and not self.trouble:
            if not self.survivable:
                self.trouble = "from one that had used grpc, which cannot go on in a child"
            else:
                self.trouble = self._disturbance

    def _disturbed(self, *, busy: bool) -> str:
        """What keeps a child from using grpc; "" for nothing.

        Beside other threads grpc's own closing of a channel in the child now and then waits for ever.
        """
        if busy:
            return "while another of its threads was in a call that did not end in time"
        with self._changed:
            self._users &= set(sys._current_frames())  # noqa: SLF001 - as in _busy: those that are alive
            other_threads = self._users - {threading.get_ident()}
        return "while another of its threads, which has used sandboxes, was there" if other_threads else ""

    def _busy(self) -> bool:
        """Whether another thread is inside of grpc, and not only waiting there for something to come."""
        other_threads = [thread for thread in list(self._inside) if thread != threading.get_ident()]
        frames = sys._current_frames() if other_threads else {}  # noqa: SLF001 - documented; there is no other way to see it
        return any(frame.f_code is not _WAITING for frame in map(frames.get, other_threads) if frame is not None)

    def _look_after_channels(self, *, on: bool) -> None:
        """Have grpc see to the channels in a child, which takes locks that may be held there; or not."""
        if not self.channels:
            return
        from grpc._cython import cygrpc  # noqa: PLC0415 - loaded by now; it has no public name

        change = cygrpc.fork_register_channel if on else cygrpc.fork_unregister_channel
        for channel in list(self.channels):
            change(channel)


def _end_quietly() -> None:
    """Close what is open when the interpreter ends, and let grpc's threads come to their end.

    One that is stopped by the interpreter while it holds a call's lock holds it for ever, and whoever lets go of the
    call asks for it.
    """
    for channel in list(fork.channels):
        channel.close()
    deadline = time.monotonic() + _PATIENCE_S
    for thread in threading.enumerate():
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - as in _busy
        if thread is not threading.current_thread() and _takes_what_comes(frame):
            thread.join(max(deadline - time.monotonic(), 0))


def _takes_what_comes(frame: FrameType | None) -> bool:
    """Whether a thread that stands there is the library's own, which takes what comes for all calls of a channel."""
    while frame is not None and frame.f_code.co_name != _GRPC_THREAD:
        frame = frame.f_back
    return frame is not None


def _never_let_go(objects: list[Any]) -> None:
    """Keep what the parent has made of grpc, to the end and beyond.

    Letting go of a channel would close it, and that hangs here. Letting go of a call takes its lock, which a thread of
    the library's may have held at the moment of the fork.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(objects))


fork = Fork()
atexit.register(_end_quietly)
os.register_at_fork(before=fork.before, after_in_parent=fork.in_parent, after_in_child=fork.in_child)
