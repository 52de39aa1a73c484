"""Reading what the kernel reports, a millisecond's work in each turn of the loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator

from . import inotify

# Some 300 reports. For one follower that is a turn's work; for hundreds it is spread over many.
_READ_BYTES = 12 * 1024
_TURN_S = 0.001


class InotifyReader:
    """Reads an inotify instance on the loop. What it has read is handed out to its end before it reads on.

    Args:
        hand_out: hands out what was read, step by step; a step is some microseconds of work.

    Raises:
        OSError: EMFILE if the user has too many instances.
    """

    def __init__(self, hand_out: Callable[[bytes], Iterator[None]]) -> None:
        self.instance = inotify.open_instance()
        self._hand_out = hand_out
        self._loop = asyncio.get_running_loop()
        self._steps: Iterator[None] = iter(())
        # Bytes that were read, and those of them that were handed out.
        self._read = 0
        self._handed_out = 0
        self._passing: list[tuple[int, asyncio.Future[None]]] = []
        self._loop.add_reader(self.instance, self._on_readable)

    async def passed(self) -> None:
        """Wait until all that the kernel has reported by now was handed out."""
        reported = self._read + inotify.unread(self.instance)
        if reported > self._handed_out:
            passed = self._loop.create_future()
            self._passing.append((reported, passed))
            await passed

    def _on_readable(self) -> None:
        try:
            data = os.read(self.instance, _READ_BYTES)
        except BlockingIOError:
            return
        self._read += len(data)
        self._steps = self._hand_out(data)
        if not self._go_on():
            self._loop.remove_reader(self.instance)
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        done = True
        try:
            done = self._go_on()
        finally:
            if done:
                self._loop.add_reader(self.instance, self._on_readable)
            else:
                self._loop.call_soon(self._resume)

    def _go_on(self) -> bool:
        """Hand out for a millisecond; return whether that was all."""
        until = time.perf_counter() + _TURN_S
        done = True
        try:
            for _ in self._steps:
                if time.perf_counter() > until:
                    done = False
                    break
        finally:  # a follower that fails must not keep the others waiting
            if done:
                self._handed_out = self._read
                self._pass()
        return done

    def _pass(self) -> None:
        waiting, self._passing = self._passing, []
        for at, passed in waiting:
            if at > self._handed_out:
                self._passing.append((at, passed))
            elif not passed.done():
                passed.set_result(None)
