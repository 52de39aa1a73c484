"""A real daemon in a process of its own, stopped again whatever the test did."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests.support.kernel import children, descendants, has_exited, open_pidfds
from tests.support.users import command_as

ROOT = Path(__file__).resolve().parents[2]
# Only what hangs takes so long, however busy the machine is.
READY_TIMEOUT_S = STOP_TIMEOUT_S = SERVER_TIMEOUT_S = 60.0


class Daemon:
    """A started daemon that has said it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # The newest log lines, enough to explain a failure.
        self.stderr: deque[str] = deque(maxlen=5000)
        self._readers = [
            threading.Thread(target=self._read_stdout, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_stderr, args=(process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self.ready: dict[str, Any] = {}

    @classmethod
    def start(
        cls,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        within: Sequence[str] = (),
    ) -> Daemon:
        """Start a daemon and wait for its readiness line.

        Args:
            arguments: instead of `--port 0 --listen 127.0.0.1`, if any are given.
            env: added to the environment of the test run.
            user: who runs it, if not the user of the test run; skips where that cannot be done.
            within: a command that runs the one that follows it, in surroundings of its own.
        """
        command = [sys.executable, "-m", "envd", *(arguments or ("--port", "0", "--listen", "127.0.0.1"))]
        return cls.run([*within, *(command if user is None else command_as(user, *command))], env=env)

    @classmethod
    def run(cls, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Daemon:
        """Run a command that becomes a daemon, and wait for its readiness line; `env` is added to the environment."""
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        daemon = cls(process)
        try:
            daemon.ready = daemon._first_line()
        except BaseException:
            daemon.stop(force=True)
            raise
        return daemon

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> str:
        return str(self.ready["addresses"][0])

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def server_pid(self) -> int:
        """The keeper's child that serves; AssertionError if there is none at the moment."""
        for child in children(self.pid):
            with suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text()
                # One that was killed may be held by the kernel.
                if status.startswith("Name:\tenvd-server\n") and "\nState:\tZ" not in status:
                    return child
        raise AssertionError(f"keeper {self.pid} has no server; its last words:\n{self.log()}")

    def programs(self) -> list[int]:
        """The keeper's children that are programs, also those that have not been executed yet."""
        found = []
        for child in children(self.pid):
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text() not in ("envd-server\n", "envd-standby\n"):
                    found.append(child)
        return found

    def kill_server(self) -> int:
        """SIGKILL the server, wait until it is gone, and return the pid it had; waits for one to be there first."""
        pid = self._current_server()
        with open_pidfds([pid]) as fds:
            signal.pidfd_send_signal(fds[0], signal.SIGKILL)
            assert has_exited(fds[0], timeout_s=SERVER_TIMEOUT_S)
        return pid

    def _current_server(self) -> int:
        deadline = time.monotonic() + SERVER_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(AssertionError):
                return self.server_pid()
            time.sleep(0.01)  # the keeper is starting another one
        return self.server_pid()

    def log(self, *, lines: int = 40) -> str:
        """The last lines it logged, for the message of a failed test."""
        return "\n".join(list(self.stderr)[-lines:])

    def stop(self, *, force: bool = False) -> int:
        """End the daemon and whatever is left below it; return its exit status.

        Raises:
            AssertionError: it was asked with SIGTERM and did not stop in time.
        """
        with open_pidfds([*descendants(self.pid), self.pid]) as below:
            late = not force and self._terminate()
            for fd in below:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            status = self._process.wait(STOP_TIMEOUT_S)
            for reader in self._readers:
                reader.join(STOP_TIMEOUT_S)
        self._close_pipes()
        assert not late, f"the daemon did not stop within {STOP_TIMEOUT_S} s of SIGTERM:\n{self.log()}"
        return status

    def _terminate(self) -> bool:
        """Ask the daemon to stop; True if it did not."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _first_line(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=READY_TIMEOUT_S)
        except queue.Empty:
            raise AssertionError(f"no readiness line within {READY_TIMEOUT_S} s:\n{self.log()}") from None
        if line is None:
            self._readers[1].join(STOP_TIMEOUT_S)
            raise AssertionError(f"the daemon ended before it was ready:\n{self.log()}")
        ready: dict[str, Any] = json.loads(line)
        return ready

    def _read_stdout(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._lines.put(line)
        self._lines.put(None)

    def _read_stderr(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.stderr.append(line.rstrip("\n"))


@contextmanager
def daemon_of(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """The daemon that a command of the test's own becomes, as `Daemon.run` does it."""
    daemon = Daemon.run(command, env=env)
    try:
        yield daemon
    finally:
        daemon.stop()


@asynccontextmanager
async def running_daemon(
    *arguments: str, env: Mapping[str, str] | None = None, user: str | None = None
) -> AsyncIterator[Daemon]:
    """A daemon for one test; arguments as for `Daemon.start`."""
    daemon = await asyncio.to_thread(Daemon.start, *arguments, env=env, user=user)
    try:
        yield daemon
    finally:
        await asyncio.to_thread(daemon.stop)
