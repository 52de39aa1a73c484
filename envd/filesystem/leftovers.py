"""What a server that dies leaves behind in people's directories, so that the next one can clear it away."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

from envd.errors import EnvdError

from .hidden_names import TEMPORARY
from .removal import remove_tree

log = logging.getLogger("envd.filesystem")

# One page: a signal is acted on between the pages of a write, so a path is there whole or not at all.
_SLOT_BYTES = 4096
_LENGTH_BYTES = 2
_PATH_BYTES = _SLOT_BYTES - _LENGTH_BYTES
_SLOTS = 4096


class Leftovers:
    """Paths of hidden temporaries that exist now, in a file in memory that outlives this process.

    There is room for 4096 at once, each of at most 4094 bytes. What does not fit is not noted: it works as well, but
    stays where it is if the server dies before it has its place.

    Args:
        fd: of a memfd, which stays the caller's. One process at a time uses it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        used = min(os.fstat(fd).st_size // _SLOT_BYTES + 1, _SLOTS)
        self._old = {slot: path for slot in range(used) if (path := self._read(slot))}
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in self._old]

    @contextlib.contextmanager
    def noted(self, path: str) -> Iterator[None]:
        """Note an absolute path for as long as a temporary may be there."""
        data = os.fsencode(path)
        slot = self._take() if len(data) <= _PATH_BYTES else None
        if slot is None:
            yield
            return
        try:
            os.pwrite(self._fd, len(data).to_bytes(_LENGTH_BYTES, "big") + data, slot * _SLOT_BYTES)
            yield
        finally:
            self._clear(slot)

    def remove(self) -> None:
        """Remove what an earlier server left, with what is below it. Blocks."""
        for slot, path in self._old.items():
            # Anybody can have made it something else since; but nobody else gives names like these.
            if TEMPORARY.fullmatch(os.path.basename(path)):
                _remove(path)
            self._clear(slot)
        self._old = {}

    def _take(self) -> int | None:
        with self._lock:
            return self._free.pop() if self._free else None

    def _clear(self, slot: int) -> None:
        os.pwrite(self._fd, bytes(_LENGTH_BYTES), slot * _SLOT_BYTES)
        with self._lock:
            self._free.append(slot)

    def _read(self, slot: int) -> str:
        data = os.pread(self._fd, _SLOT_BYTES, slot * _SLOT_BYTES)
        length = int.from_bytes(data[:_LENGTH_BYTES], "big")
        return os.fsdecode(data[_LENGTH_BYTES : _LENGTH_BYTES + length])


def _remove(path: str) -> None:
    try:
        remove_tree(path)
    except FileNotFoundError:
        return
    except (OSError, EnvdError) as exc:
        log.warning("a temporary of an earlier server stays", extra={"errno": getattr(exc, "errno", None)})
    else:
        log.info("removed a temporary of an earlier server")
