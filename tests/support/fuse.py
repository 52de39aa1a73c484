"""A file system that stops answering when it is told to: a FUSE daemon of one directory, in a thread of the test."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

# Source: linux/fuse.h.
LOOKUP, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH = 1, 3, 14, 15, 17, 18, 25
INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, DESTROY = 26, 27, 28, 29, 34, 38
_NO_ANSWER = (2, 42)  # FORGET, BATCH_FORGET
_HEAD = struct.Struct("<IIQQ")
_ROOT = 1
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Hanging:
    """A mounted directory with some files.

    Attributes:
        path: where it is mounted.
        asked: how many requests wait for an answer since it stopped to give any.
    """

    def __init__(self, path: Path, contents: Mapping[str, bytes]) -> None:
        self.path = path
        self._names = list(contents)
        self._contents = list(contents.values())
        self._lock = threading.Condition()
        self._silent: frozenset[int] | None = None
        self._waiting: list[tuple[int, int, int, bytes]] = []
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)

    def mount(self) -> None:
        """Mount it; skips where that cannot be done."""
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"hanging", os.fsencode(self.path), b"fuse", 0, options):
            os.close(self._fd)
            pytest.skip(f"FUSE cannot be mounted: {os.strerror(ctypes.get_errno())}")
        threading.Thread(target=self._serve, daemon=True).start()

    def stop_answering(self, *requests: int) -> None:
        """Answer nothing from now on, or none of these kinds of request."""
        with self._lock:
            self._silent = frozenset(requests)

    def answer(self) -> None:
        """Answer again, also what was asked meanwhile."""
        with self._lock:
            self._silent = None
            waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._reply(*request)

    @property
    def asked(self) -> int:
        with self._lock:
            return len(self._waiting)

    def wait_for_requests(self, count: int, timeout_s: float = 20.0) -> None:
        """Wait until so many requests have no answer."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self._waiting) >= count, timeout_s), len(self._waiting)

    def unmount(self) -> None:
        """Take it away; who waits for it gets an error."""
        _libc.umount2(os.fsencode(self.path), _MNT_DETACH)
        os.close(self._fd)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, 1 << 20)
            except OSError:
                return  # unmounted
            _, kind, unique, node = _HEAD.unpack_from(request)
            body = request[40:]
            with self._lock:
                silent = self._silent
                hangs = silent is not None and (not silent or kind in silent) and kind not in _NO_ANSWER
                if hangs:
                    self._waiting.append((kind, unique, node, body))
                    self._lock.notify_all()
            if not hangs:
                self._reply(kind, unique, node, body)

    def _reply(self, kind: int, unique: int, node: int, body: bytes) -> None:
        if kind in _NO_ANSWER:
            return
        answer = self._answer(kind, node, body)
        error, data = (-answer, b"") if isinstance(answer, int) else (0, answer)
        try:
            os.write(self._fd, struct.pack("<IiQ", 16 + len(data), error, unique) + data)
        except OSError:
            return  # nobody waits for it any more

    def _answer(self, kind: int, node: int, body: bytes) -> bytes | int:
        if kind == INIT:
            return struct.pack("<IIIIHHII", 7, 31, 1 << 16, 0, 12, 10, 1 << 17, 1).ljust(64, b"\0")
        if kind == LOOKUP:
            name = os.fsdecode(body.rstrip(b"\0"))
            if name not in self._names:
                return errno.ENOENT
            found = self._names.index(name) + 2
            return struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + self._attributes(found)
        if kind == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        if kind in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if kind == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self._contents[node - 2][offset : offset + size]
        if kind == READDIR:
            return self._entries(struct.unpack_from("<QQ", body)[1])
        if kind == STATFS:
            return bytes(80)
        if kind in (RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY):
            return b""
        return errno.ENOSYS

    def _attributes(self, node: int) -> bytes:
        directory = node == _ROOT
        mode = stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o644
        size = 0 if directory else len(self._contents[node - 2])
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _entries(self, offset: int) -> bytes:
        if offset:
            return b""
        found = b""
        for place, name in enumerate(self._names, 1):
            raw = os.fsencode(name)
            entry = struct.pack("<QQII", place + 1, place, len(raw), stat.S_IFREG >> 12) + raw
            found += entry.ljust((len(entry) + 7) // 8 * 8, b"\0")
        return found


@contextmanager
def hanging(path: Path, contents: Mapping[str, bytes] | None = None) -> Iterator[Hanging]:
    """A directory on a file system that can stop answering; skips where FUSE cannot be mounted."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("mounting FUSE needs root and /dev/fuse")
    path.mkdir()
    made = Hanging(path, contents or {})
    made.mount()
    try:
        yield made
    finally:
        made.unmount()
