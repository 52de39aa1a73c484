"""When the keeper gives a server up. What is counted is its own turns, so nothing here waits."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envd.keeper.heartbeat import Heartbeat, is_over, look

HANGS, STARTS, STARVED = 15, 120, 60
_PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_DETACH = 0x4206, 0x4207, 17


WAITS = "import signal; signal.pause()"
COMPUTES = "while True: pass"
ENDS = "pass"


@contextmanager
def process(code: str, state: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs code, once it is in a state for good."""
    started = subprocess.Popen([sys.executable, "-I", "-S", "-c", f"print(flush=True)\n{code}"], stdout=subprocess.PIPE)
    try:
        assert started.stdout is not None
        started.stdout.readline()
        while look(started.pid)[0] != state:
            pass
        yield started
    finally:
        started.kill()
        started.communicate()


def stopped(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def intervals(heartbeat: Heartbeat, pid: int, limit: int = 1000) -> int:
    """After how many intervals of silence the server is given up."""
    return next((count for count in range(1, limit) if heartbeat.lost(pid)), limit)


def heard() -> Heartbeat:
    heartbeat = Heartbeat()
    heartbeat.heard()
    return heartbeat


def test_a_stopped_server_is_given_up_after_fifteen_intervals() -> None:
    with process(WAITS, "S") as server:
        stopped(server.pid)
        assert intervals(heard(), server.pid) == HANGS


def test_so_is_one_that_waits_and_one_that_computes_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envd.keeper.heartbeat._STARVED_S", 0.5)
    with process(WAITS, "S") as server:
        assert intervals(heard(), server.pid) == HANGS
    with process(COMPUTES, "R") as server:
        heartbeat = heard()
        assert not heartbeat.lost(server.pid)
        assert not heartbeat.lost(server.pid)
        before = look(server.pid)[1]
        while look(server.pid)[1] < before + 0.6:
            time.sleep(0.01)  # leaves it the processor, until it has computed for longer than that since
        assert intervals(heartbeat, server.pid) == HANGS - 2


def test_one_that_gets_no_processor_is_given_more_time() -> None:
    # Ready to run all the time, and with next to no processor time between the looks.
    with process(COMPUTES, "R") as server:
        assert HANGS < intervals(heard(), server.pid) <= STARVED


def test_a_word_from_the_server_starts_the_count_anew() -> None:
    with process(WAITS, "S") as server:
        heartbeat = heard()
        for _ in range(10):
            assert not any(heartbeat.lost(server.pid) for _ in range(HANGS - 1))
            heartbeat.heard()


def test_one_that_loads_its_code_is_given_more_time() -> None:
    with process(WAITS, "S") as server:
        assert intervals(Heartbeat(), server.pid) == STARTS


def test_one_whose_main_thread_is_gone_is_given_up_at_once() -> None:
    with process(ENDS, "Z") as server:
        assert look(server.pid)[0] == "Z"
        assert intervals(heard(), server.pid) == 2
        server.wait()
        assert look(server.pid)[0] == "X"
        assert intervals(heard(), server.pid) == 2


def test_one_that_is_being_debugged_is_not_given_up() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with process(WAITS, "S") as server:
        if libc.ptrace(_PTRACE_SEIZE, server.pid, None, None) or libc.ptrace(_PTRACE_INTERRUPT, server.pid, None, None):
            pytest.skip("cannot trace a process here")
        os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
        assert look(server.pid)[0] == "t"
        try:
            assert intervals(heard(), server.pid, limit=200) == 200
        finally:
            libc.ptrace(_PTRACE_DETACH, server.pid, None, None)


def test_a_killed_process_is_waited_for_until_it_can_do_nothing() -> None:
    with process(COMPUTES, "R") as running:
        assert not is_over(running.pid, 29)  # it may be in the middle of a system call
        assert is_over(running.pid, 30)
    with process(WAITS, "S") as waiting:
        assert not is_over(waiting.pid, 1)
        assert is_over(waiting.pid, 2)
    with process(ENDS, "Z") as ended:
        assert not is_over(ended.pid, 1)  # its parent is about to wait for it
        assert is_over(ended.pid, 2)
        ended.wait()
        assert is_over(ended.pid, 0)


def test_a_command_with_parentheses_in_its_name_is_read_right() -> None:
    with process(f"open('/proc/self/comm', 'w').write('a) Z (b')\n{WAITS}", "S") as one:
        assert Path(f"/proc/{one.pid}/comm").read_text() == "a) Z (b\n"
        assert look(one.pid)[0] == "S"
