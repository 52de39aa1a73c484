"""Mounts: finds the file system of a path in the kernel's list of mounts, without touching the file system itself."""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections.abc import Callable, Collection

_LIST = "/proc/self/mountinfo"
_STALE_S = 0.25  # how long a mount may be there unknown: until then it counts as what it is mounted over
_MOST_LINKS = 40  # the kernel's own bound, path_resolution(7)
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mounts:
    """Says which device (`major:minor`) a path is on; bind mounts of one file system have the same. For any thread.

    Where the kernel lists no mounts, everything is on one device without a name.
    """

    def __init__(self, path: str = _LIST) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._devices: dict[str, str] = {}
        self._checked_at = 0.0
        self._changes = select.poll()
        try:
            self._file: int = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1
            return
        self._changes.register(self._file, select.POLLPRI)
        self._read()

    def device(self, path: str) -> str:
        """Return the device an absolute path is on as it is written, whatever the links in it lead to."""
        self._refresh()
        devices = self._devices
        while path:
            device = devices.get(path)
            if device is not None:
                return device
            path = path[: path.rfind("/")]
        return devices.get("/", "")

    def final_device(
        self, path: str, never: Collection[str], touching: Callable[[str], object] = lambda _: None
    ) -> str:
        """Return the device a path leads to, links followed. Blocks.

        It stops at the first device that is one of `never`. Before a device is touched, `touching` is called with it: a
        caller that gets no result then knows which one does not answer.
        """
        remaining, links = path.split("/")[::-1], 0
        directory = ""
        device = self.device("/")
        while remaining:
            name = remaining.pop()
            if name in ("", "."):
                continue
            if name == "..":
                directory = directory[: directory.rfind("/")] if directory else ""
                device = self.device(directory or "/")
                continue
            entry = f"{directory}/{name}"
            device = self.device(entry)
            if device in never:
                break
            target = None if entry in self._devices else _link(entry, device, touching)
            links += target is not None
            if target is None or links > _MOST_LINKS:
                directory = entry
                continue
            remaining.extend(target.split("/")[::-1])
            directory = "" if target.startswith("/") else directory
        return device

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < _STALE_S or self._file < 0:
            return
        with self._lock:
            if now - self._checked_at >= _STALE_S:
                self._checked_at = now
                if any(events & (select.POLLPRI | select.POLLERR) for _, events in self._changes.poll(0)):
                    self._read()

    def _read(self) -> None:
        """Read the list. Source: proc(5), mountinfo; a later line hides an earlier one for the same place."""
        try:
            with open(self._path, "rb") as lines:
                rows = [line.split(b" ", 5) for line in lines]
        except OSError:
            return
        self._devices = {_unescaped(columns[4]): columns[2].decode() for columns in rows if len(columns) > 5}


def _link(path: str, device: str, touching: Callable[[str], object]) -> str | None:
    touching(device)
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None


def _unescaped(text: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), text))
