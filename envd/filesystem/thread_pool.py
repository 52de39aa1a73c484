"""Threads for work that a file system may hold up: one that does not answer holds up only what is on it.

See docs/decisions/0023-file-systems-that-do-not-answer.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from envd.errors import Code, EnvdError
from envd.host.mounts import Mounts

from .loads import Loads
from .monitor import Monitor, PoolState, StartThread, start_thread
from .steps import Step, StepLimits

T = TypeVar("T")

_Inbox = SimpleQueue[Step[Any]]


class ThreadPool:
    """Runs steps in threads. For any thread.

    Each device has a bounded share of the threads, so others are free when it stops answering. A thread that does not
    get on for half a second is replaced, and who waits for a device that does not answer is told so in the end. Steps
    that wait are taken device by device, on each in the order they came.
    """

    def __init__(self, sizes: StepLimits, mounts: Mounts, start_thread: StartThread = start_thread) -> None:
        self._sizes = sizes
        self._mounts = mounts
        # Reentrant: a step that is called off already is left at once, by whoever puts it in a queue.
        shared = PoolState(threading.RLock(), Loads(sizes), {})
        self._lock, self._loads, self._queues = shared.lock, shared.loads, shared.queues
        self._idle: list[_Inbox] = []
        self._threads = 0
        self._start_thread = start_thread
        self._monitor = Monitor(shared, mounts, sizes.give_up_s, self._fill, self._end, start_thread)

    def submit(
        self,
        work: Callable[[], T],
        paths: tuple[str, ...] = (),
        behind: Step[Any] | None = None,
        *,
        certain: bool = False,
    ) -> Step[T]:
        """Have work done.

        Args:
            work: called in a thread.
            paths: absolute; what it touches is on the devices these are on.
            behind: a step that has to be over before.
            certain: it may wait for as long as it takes.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if too much waits, or there can be no thread.
        """
        devices = tuple(sorted({self._mounts.device(path) for path in paths}))
        step = Step(work, paths, devices, behind, certain=certain)
        with self._lock:
            if behind is not None and not behind.over:
                behind.listeners.append(lambda _: self._begin_late(step))
            else:
                step.behind = None
                self._begin(step)
        return step

    def device(self, path: str) -> str:
        """Return the device a path is on."""
        return self._mounts.device(path)

    @property
    def gets_on(self) -> bool:
        """No device is known that does not answer."""
        return not self._loads.silent

    def when_over(self, step: Step[T], heard: Callable[[Step[T]], object]) -> None:
        """Have something called, in any thread, when no thread works on a step any more."""
        with self._lock:
            if not step.over:
                step.listeners.append(heard)
                return
        heard(step)

    def _begin_late(self, step: Step[Any]) -> None:
        try:
            with self._lock:
                step.behind, step.queued_at = None, time.monotonic()
                self._begin(step)
        except EnvdError as exc:
            with suppress(InvalidStateError):  # cancelled
                step.answer.set_exception(exc)
            self._end(step)

    def _left(self, step: Step[Any], _: object) -> None:
        """Forget a step that waits for a thread: its caller does not wait any more."""
        with self._lock:
            queue = self._queues.get(step.devices)
            if queue is None or step not in queue:
                return
            del queue[step]
        self._end(step)

    def _end(self, step: Step[Any]) -> None:
        """Tell who waits for it that no thread works on a step."""
        with self._lock:
            step.over, step.work = True, None
        for heard in step.listeners:
            heard(step)

    # Down to the next such line the lock is held.

    def _begin(self, step: Step[Any]) -> None:
        self._monitor.wake()
        if not self._loads.room(step.devices) or not self._start(step):
            self._queue(step)

    def _queue(self, step: Step[Any]) -> None:
        queue = self._queues.setdefault(step.devices, {})
        if not step.certain and (len(queue) >= self._sizes.waiting or not self._threads):
            raise EnvdError(Code.RESOURCE_EXHAUSTED, "too much file work waits for a thread: try again later")
        queue[step] = None
        step.answer.add_done_callback(partial(self._left, step))

    def _start(self, step: Step[Any]) -> bool:
        """Give a step to a thread; False if there is none and none can be made."""
        if not self._idle:
            inbox: _Inbox = SimpleQueue()
            if not self._start_thread(partial(self._work, inbox)):
                return False
            self._threads += 1
            self._idle.append(inbox)
        self._loads.add(step)
        self._idle.pop().put(step)
        return True

    def _take(self) -> Step[Any] | None:
        """Return the step whose turn it is; None if none may begin."""
        for devices, queue in list(self._queues.items()):
            if queue and self._loads.room(devices):
                step = next(iter(queue))
                del queue[step], self._queues[devices]
                if queue:
                    self._queues[devices] = queue  # behind those of other devices
                return step
            if not queue:
                del self._queues[devices]
        return None

    def _fill(self) -> None:
        """Begin what may begin."""
        while (step := self._take()) is not None:
            if not self._start(step):
                self._queues.setdefault(step.devices, {})[step] = None
                return

    # In the threads that work.

    def _work(self, inbox: _Inbox) -> None:
        clock = time.pthread_getcpuclockid(threading.get_ident())
        while True:
            step: Step[Any] | None = inbox.get()
            while step is not None:
                step, stays = self._do(step, clock, inbox)
            if not stays:
                return

    def _do(self, step: Step[Any], clock: int, inbox: _Inbox) -> tuple[Step[Any] | None, bool]:
        """Do a step; return the next one, or None and whether there may be another later."""
        step.begin(clock)
        silent = self._loads.silent
        if silent and (device := self._silent_device(step)) is not None:
            return self._put_off(step, device, inbox)
        value, failure = None, None
        if _claim(step):
            try:
                assert step.work is not None
                value = step.work()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the caller gets it
                failure = exc
        with self._lock:
            self._loads.remove(step)
            step.over, step.work, step.value = True, None, value
            following = self._following(inbox)
        with suppress(InvalidStateError):  # cancelled, or given up
            if failure is None:
                step.answer.set_result(value)
            else:
                step.answer.set_exception(failure)
        self._end(step)
        return following

    def _following(self, inbox: _Inbox) -> tuple[Step[Any] | None, bool]:
        """Return what a thread does next. With the lock."""
        step = self._take()
        if step is not None:
            self._loads.add(step)
            return step, True
        if self._threads > self._sizes.working:
            self._threads -= 1  # it was there for one that was stuck
            return None, False
        self._idle.append(inbox)
        return None, True

    def _silent_device(self, step: Step[Any]) -> str | None:
        """Return a device that does not answer and to which a link on the way leads, unknown so far."""
        silent = set(self._loads.silent)
        if silent.intersection(step.devices):
            return None
        devices = (self._mounts.final_device(path, silent) for path in step.paths)
        return next((device for device in devices if device in silent), None)

    def _put_off(self, step: Step[Any], device: str, inbox: _Inbox) -> tuple[Step[Any] | None, bool]:
        """Have a step wait with those of the device it is on; it may also go on at once."""
        with self._lock:
            self._loads.remove(step)
            step.clock, step.devices = None, (device,)
            self._queues.setdefault(step.devices, {})[step] = None
            step.answer.add_done_callback(partial(self._left, step))
            return self._following(inbox)


def _claim(step: Step[Any]) -> bool:
    """Tell whether the answer of a step is still wanted; from then on its caller cannot call it off."""
    if step.answer.done() and not step.answer.cancelled():
        return False
    try:
        return step.answer.set_running_or_notify_cancel()
    except RuntimeError:  # it was given up at this moment
        return False
