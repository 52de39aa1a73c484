"""Looking at network file systems every second: the kernel does not report changes that are made elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

INTERVAL_S = 1.0


class Poller:
    """Notices that something has changed below a directory. Works in threads of its own, which may hang with the mount.

    Args:
        changed: called on the loop, with the paths that were renamed.
    """

    def __init__(self, changed: Callable[[list[str]], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._observer: Any = None
        self._stopped = False

    def start(self, path: str, *, recursive: bool) -> None:
        """Begin; calls `changed` once when it does look, for what was changed until then. Blocks."""
        from watchdog.events import FileSystemEvent, FileSystemEventHandler  # noqa: PLC0415 - late: hardly ever needed
        from watchdog.observers.api import BaseObserver  # noqa: PLC0415
        from watchdog.observers.polling import PollingEmitter  # noqa: PLC0415

        tell = self._tell

        class Emitter(PollingEmitter):
            def on_thread_start(self) -> None:
                super().on_thread_start()
                tell([])

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                tell([str(event.src_path)] if event.event_type == "moved" else [])

        observer = BaseObserver(Emitter, timeout=INTERVAL_S)
        observer.schedule(Handler(), path, recursive=recursive)
        observer.start()
        self._observer = observer
        if self._stopped:
            observer.stop()

    def stop(self) -> None:
        """End, without waiting for threads that hang."""
        self._stopped = True
        if self._observer is not None:
            self._observer.stop()

    def _tell(self, renamed: list[str]) -> None:
        if not self._stopped:
            self._loop.call_soon_threadsafe(self._changed, renamed)
