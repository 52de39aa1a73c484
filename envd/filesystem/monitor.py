"""Finds file work that makes no progress, and the device that does not answer; fails the calls that wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from envd.errors import Code, EnvdError
from envd.host.mounts import Mounts
from envd.host.thread_ids import begin_thread

from .loads import Loads
from .steps import Step

_LOOK_S = 0.25
_FIND_S = 0.25
StartThread = Callable[[Callable[[], object]], bool]
_SILENT_S = 1.0  # how long a call waits for a device that has been silent for long


@dataclass(frozen=True, slots=True)
class PoolState:
    """What pool and monitor share.

    Attributes:
        lock: for all of it.
        queues: steps that wait for a thread, by the devices they touch, in their order.
    """

    lock: threading.RLock
    loads: Loads
    queues: dict[tuple[str, ...], dict[Step[Any], None]]


class Monitor:
    """Looks four times a second while there is file work.

    Args:
        fill: begins steps that may begin now.
        end: tells who waits for it that no thread will work on a step. Without the lock.
        start: starts a thread, as `start_thread` does.
    """

    def __init__(
        self,
        shared: PoolState,
        mounts: Mounts,
        give_up_s: float,
        fill: Callable[[], None],
        end: Callable[[Step[Any]], None],
        start: StartThread,
    ) -> None:
        self._lock, self._loads, self._queues = shared.lock, shared.loads, shared.queues
        self._mounts = mounts
        self._give_up_s = give_up_s
        self._fill = fill
        self._end = end
        self._start = start
        self._busy = threading.Event()
        self._started = False

    def wake(self) -> None:
        """Look from now on. With the lock."""
        if not self._busy.is_set():
            self._busy.set()
        if not self._started:
            self._started = self._start(self._run)

    def _run(self) -> None:
        while self._busy.wait():
            time.sleep(_LOOK_S)
            now = time.monotonic()
            with self._lock:
                stuck = [step for step in self._loads if self._loads.look(step, now)]
                if not len(self._loads) and not any(self._queues.values()):
                    self._busy.clear()
            for step in stuck:
                self._find(step)
            with self._lock:
                self._loads.look_at_devices(now)
                self._fill()
                stuck, queued = self._hopeless_stuck(now), self._hopeless_queued(now)
            for step in stuck:
                _fail(step, _unanswered(step))
            for step in queued:
                _fail(step, _unavailable(step))
                self._end(step)

    def _find(self, step: Step[Any]) -> None:
        """Count a step that is stuck with the device that does not answer, if that is another than its path tells."""
        silent = self._loads.silent - set(step.devices)
        for path in step.paths:
            device = _culprit(self._mounts, path, silent, self._start)
            if device is not None:
                with self._lock:
                    self._loads.move(step, (device,))
                return

    def _hopeless_stuck(self, now: float) -> list[Step[Any]]:
        """Return the steps that nobody should wait for any longer."""
        return [
            step
            for step in self._loads
            if step.stuck and not step.answer.done() and now - step.still_since >= self._give_up_s
        ]

    def _hopeless_queued(self, now: float) -> list[Step[Any]]:
        """Take the steps that should not wait for a thread any longer out of their queues."""
        hopeless = []
        for devices, queue in self._queues.items():
            since = self._loads.full_since(devices)
            if since is None and not self._loads.exhausted:
                continue
            long_silent = since is not None and now - since >= self._give_up_s
            patience_s = min(_SILENT_S, self._give_up_s) if long_silent else self._give_up_s
            hopeless += [step for step in queue if now - step.queued_at >= patience_s and not step.certain]
        for step in hopeless:
            del self._queues[step.devices][step]
        return hopeless


def _begun(work: Callable[[], object]) -> None:
    begin_thread()  # who starts it may be acting as a user
    work()


def start_thread(work: Callable[[], object]) -> bool:
    """Start a thread that ends with the process, whatever it waits for; False if there can be none now."""
    try:
        threading.Thread(target=_begun, args=(work,), name="files", daemon=True).start()
    except RuntimeError:  # no more processes, no memory
        return False
    return True


def _fail(step: Step[Any], error: EnvdError) -> None:
    with suppress(InvalidStateError):  # it has just ended, or its caller has left
        step.answer.set_exception(error)


def _culprit(mounts: Mounts, path: str, silent: set[str], start: StartThread) -> str | None:
    """Return the device that a path leads to, or on the way to it the one that does not answer."""
    touched: list[str] = []
    arrived = threading.Event()

    def find() -> None:
        touched.append(mounts.final_device(path, silent, touched.append))
        arrived.set()

    if not start(find):
        return None
    arrived.wait(_FIND_S)
    return touched[-1] if touched else None


def _unanswered(step: Step[Any]) -> EnvdError:
    subject = f"{step.paths[0]}: the file system it is on" if step.paths else "a file system"
    return EnvdError(
        Code.DEADLINE_EXCEEDED, f"{subject} does not answer; whether the call will still be carried out is not known"
    )


def _unavailable(step: Step[Any]) -> EnvdError:
    subject = f"{step.paths[0]}: the file system it is on" if step.paths else "file systems"
    return EnvdError(Code.UNAVAILABLE, f"{subject} does not answer, so nothing was begun: try again when it does")
