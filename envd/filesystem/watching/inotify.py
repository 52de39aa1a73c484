"""The kernel's reports of changes in directories, and reading them on the loop. Source: inotify(7)."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import struct
import termios
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

MODIFY = 0x2
ATTRIB = 0x4
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000
IS_DIRECTORY = 0x4000_0000
_ONLY_DIRECTORIES = 0x0100_0000

_MASK = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF | _ONLY_DIRECTORIES
_HEAD = struct.Struct("iIII")

# Some 300 reports. For one follower that is a turn's work; for hundreds it is spread over many.
_READ_BYTES = 12 * 1024
_TURN_S = 0.001

_libc = ctypes.CDLL(None, use_errno=True)


class Raw(NamedTuple):
    """One report of the kernel.

    Attributes:
        watch: the descriptor of the watch.
        mask: what happened, bits from above.
        cookie: alike in the two reports of one rename.
        name: the entry; empty for the watched directory itself.
    """

    watch: int
    mask: int
    cookie: int
    name: str


def open_instance() -> int:
    """Return the descriptor of a new instance: it does not block, and is closed on exec.

    Raises:
        OSError: EMFILE if the user has too many.
    """
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")


def add(instance: int, directory: int) -> int:
    """Watch a directory, given by its own descriptor; return the watch, the same for the same directory.

    Raises:
        OSError: ENOSPC if the user has too many.
    """
    # By way of /proc it is the directory that was looked at, whatever its name means by now, and nothing blocks.
    return _checked(_libc.inotify_add_watch(instance, b"/proc/self/fd/%d" % directory, _MASK), "inotify_add_watch")


def remove(instance: int, watch: int) -> None:
    """End a watch; one that has ended already is no error."""
    _libc.inotify_rm_watch(instance, watch)


def unread(instance: int) -> int:
    """Return the bytes of reports that wait to be read."""
    return int(struct.unpack("i", fcntl.ioctl(instance, termios.FIONREAD, b"\0\0\0\0"))[0])


def parse(data: bytes) -> Iterator[Raw]:
    """Yield the reports in what was read."""
    offset, end = 0, len(data)
    while offset < end:
        watch, mask, cookie, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        name = data[offset : offset + length].rstrip(b"\0")
        offset += length
        yield Raw(watch, mask, cookie, os.fsdecode(name))


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


class InotifyReader:
    """Reads an inotify instance on the loop. What it has read is handed out to its end before it reads on.

    Args:
        hand_out: hands out what was read, step by step; a step is some microseconds of work.

    Raises:
        OSError: EMFILE if the user has too many instances.
    """

    def __init__(self, hand_out: Callable[[bytes], Iterator[None]]) -> None:
        self.instance = open_instance()
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
        reported = self._read + unread(self.instance)
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
        for position, passed in waiting:
            if position > self._handed_out:
                self._passing.append((position, passed))
            elif not passed.done():
                passed.set_result(None)
