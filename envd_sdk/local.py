"""Starts a daemon on this machine, and stops it. It runs in another process: nothing of it is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress

from envd_sdk._wire.address import Address
from envd_sdk.exceptions import SandboxException

_READY_S = 30.0
_STOP_S = 10.0

# The daemon ends when its standard input does: also if this process is killed and can ask nobody any more.
# Its output is its alone, so that the end of that is its end. Its directory goes with it.
_LIFELINE = """
directory=$1; shift
"$@" </dev/null & daemon=$!
exec >/dev/null
cat
kill -TERM "$daemon" 2>/dev/null
wait "$daemon"
rm -rf "$directory"
"""


class LocalDaemon:
    """Starts and stops a daemon that listens on a unix socket only this user reaches.

    Attributes:
        directory: a temporary one, with the socket and the log.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Prepare it; `command` instead of the installed daemon's, to which `--listen ADDRESS` is added."""
        self._command = list(command) if command is not None else None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._end: weakref.finalize[..., LocalDaemon] | None = None
        self.directory = ""

    def start(self) -> Address:
        """Start it and wait until it can be called.

        Raises:
            SandboxException: it is not installed, or does not start.
        """
        command = self._command or _installed()
        with self._lock:
            if self._stopped:
                raise SandboxException("start a local sandbox: it was stopped before it had started")
            self.directory = tempfile.mkdtemp(prefix="envd-")
            socket = os.path.join(self.directory, "envd.sock")
            with open(self._log_path(), "wb") as log:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _LIFELINE, "envd", self.directory, *command, "--listen", f"unix:{socket}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    # Ctrl+C is for this process, which decides what becomes of the daemon.
                    start_new_session=True,
                )
            # Also when nobody has this object any more, and at the end of the process.
            self._end = weakref.finalize(self, _end, os.getpid(), self._process, self.directory)
        if not self._ready():
            log_end = self._log_end()
            self.stop()
            raise SandboxException(f"start a local sandbox: the daemon did not come up; it said:\n{log_end}")
        return Address(f"unix:{socket}")

    def stop(self) -> bool:
        """Stop it and what it runs, and remove its directory; False if that was done before."""
        with self._lock:
            if self._stopped:
                return False
            self._stopped = True
        if self._end is None:
            return False
        self._end()
        return True

    def _ready(self) -> bool:
        """Wait for the line that says so."""
        assert self._process is not None
        assert self._process.stdout is not None
        fd, line, deadline = self._process.stdout.fileno(), b"", time.monotonic() + _READY_S
        while b"\n" not in line:
            readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(fd, 4096) if readable else b""
            if not part:
                return False
            line += part
        with suppress(ValueError):
            return bool(json.loads(line.split(b"\n")[0])["addresses"])
        return False

    def _log_path(self) -> str:
        return os.path.join(self.directory, "envd.log")

    def _log_end(self) -> str:
        with suppress(OSError), open(self._log_path(), "rb") as log:
            return log.read()[-2000:].decode(errors="replace").strip() or "nothing"
        return "nothing"


def _end(owner: int, process: subprocess.Popen[bytes], directory: str) -> None:
    """End a daemon and remove its directory; a forked child of the owner leaves both alone."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    if os.getpid() != owner:
        # Not this process's to wait for: it counts as ended here, and its pipes are closed on this side of the fork.
        process.returncode = 0
        process.stdout.close()
        return
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stdout.close()
    shutil.rmtree(directory, ignore_errors=True)


def _installed() -> list[str]:
    """How to start the daemon that is installed beside this package."""
    spec = importlib.util.find_spec("envd")
    if spec is None or not spec.submodule_search_locations:
        raise SandboxException(
            "start a local sandbox: the daemon is not installed in this environment; pip install sandbox-envd, or use "
            "Sandbox.connect_local(address) with one that runs"
        )
    above = os.path.dirname(next(iter(spec.submodule_search_locations)))
    # Found where this process finds it, whatever the directory it is in.
    run = f"import sys; sys.path.insert(0, {above!r}); from envd.__main__ import main; main()"
    return [sys.executable, "-P", "-c", run]
