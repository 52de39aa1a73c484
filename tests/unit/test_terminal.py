"""A terminal's two ends: what passes between them, what is left of it by a killed server, when it has ended."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest

from envd.errors import Code, EnvdError
from envd.host.users import own_user
from envd.process.journal import Journal
from envd.process.terminal import TerminalStream
from envd.process.tty import Size, open_pair, resize, size_of, slave_path

SIZE = Size(cols=100, rows=40)


class Terminal:
    """A real terminal with a stream at its master side; `slave` is what a program has."""

    def __init__(self, *, relayed: bytes = b"") -> None:
        with open_pair(SIZE, own_user()) as (master, slave):
            self.slave = os.dup(slave)
            self.master = os.dup(master)
            stream_master = os.dup(master)
        tty.setraw(self.slave)
        relay = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.write(relay[1], relayed)
        self.stream = TerminalStream(Journal.create("test"), stream_master, relay, SIZE)

    def prints(self, data: bytes) -> None:
        assert os.write(self.slave, data) == len(data)

    def hang(self) -> None:
        """Close the last descriptor of the slave."""
        os.close(self.slave)
        self.slave = -1

    def open_again(self) -> None:
        self.slave = os.open(slave_path(self.master), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)

    def pump(self, limit: int = 1 << 20) -> int:
        """Take everything there is; how much it was."""
        total = 0
        with suppress(BlockingIOError):
            while moved := self.stream.splice(limit):
                total += moved
        return total

    @property
    def text(self) -> bytes:
        return self.stream.journal.read(0, self.stream.journal.end)

    def close(self) -> None:
        self.stream.close()
        self.stream.journal.close()
        os.close(self.master)
        if self.slave >= 0:
            os.close(self.slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


# The kernel's side.


def test_the_descriptors_of_a_pair_are_closed_even_on_error() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ZeroDivisionError), open_pair(SIZE, own_user()):
        _ = 1 / 0
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_pair_has_its_size_from_the_start_and_is_inherited_by_nobody() -> None:
    with open_pair(SIZE, own_user()) as (master, slave):
        assert (size_of(slave), size_of(master)) == (SIZE, SIZE)
        assert not any(os.get_inheritable(fd) for fd in (master, slave))
        assert (os.get_blocking(master), os.get_blocking(slave)) == (False, True)
        assert slave_path(master) == os.ttyname(slave)
        resize(master, Size(cols=1, rows=65535))
        assert size_of(slave) == Size(cols=1, rows=65535)


@pytest.mark.parametrize(("cols", "rows"), [(0, 24), (80, 0), (80, 70000), (65536, 24), (-1, 24)])
def test_a_size_no_window_can_have_is_refused(cols: int, rows: int) -> None:
    with pytest.raises(EnvdError) as error:
        Size(cols=cols, rows=rows)
    assert error.value.code is Code.INVALID_ARGUMENT


def test_a_size_set_to_nothing_is_none() -> None:
    with open_pair(SIZE, own_user()) as (master, slave):
        termios.tcsetwinsize(slave, (0, 0))
        assert size_of(master) is None


# Its output.


def test_what_is_printed_arrives_whole(terminal: Terminal) -> None:
    expected = b""
    for number in range(200):
        piece = b"%d " % number * 50
        terminal.prints(piece)
        expected += piece
        assert terminal.pump() == len(piece)
    assert terminal.text == expected


def test_no_more_than_the_limit_is_taken(terminal: Terminal) -> None:
    terminal.prints(b"x" * 3000)
    assert terminal.stream.splice(100) == 100
    assert terminal.stream.journal.end == 100
    assert terminal.pump() == 2900


def test_an_empty_terminal_blocks(terminal: Terminal) -> None:
    with pytest.raises(BlockingIOError):
        terminal.stream.splice(100)


async def test_what_a_killed_server_left_in_the_relay_comes_first() -> None:
    terminal = Terminal(relayed=b"left ")
    arrived = asyncio.Event()
    terminal.stream.watch(lambda: arrived.set() if terminal.pump() else None)
    # Nothing is printed: it has to be noticed all the same.
    async with asyncio.timeout(60):
        await arrived.wait()
    terminal.prints(b"new")
    terminal.pump()
    assert terminal.text == b"left new"
    terminal.close()


# Its end.


def test_a_terminal_nobody_has_open_has_not_ended_while_the_program_lives(terminal: Terminal) -> None:
    terminal.prints(b"last")
    terminal.hang()
    assert terminal.pump() == 4
    with pytest.raises(BlockingIOError):
        terminal.stream.splice(100)
    terminal.open_again()
    terminal.prints(b" and more")
    assert terminal.pump() == 9


def test_after_the_program_it_has(terminal: Terminal) -> None:
    terminal.prints(b"last")
    terminal.hang()
    terminal.stream.leader_ended()
    assert not terminal.stream.said_all
    assert terminal.pump() == 4
    assert terminal.stream.said_all
    assert terminal.stream.splice(100) == 0


def test_while_something_else_has_it_open_it_goes_on_after_the_program(terminal: Terminal) -> None:
    terminal.prints(b"x" * 4000)
    terminal.stream.leader_ended()
    assert not terminal.stream.said_all
    terminal.pump()
    assert terminal.stream.said_all
    with pytest.raises(BlockingIOError):
        terminal.stream.splice(100)


def test_a_flood_by_who_is_left_does_not_put_off_the_programs_last_word_for_ever(terminal: Terminal) -> None:
    terminal.prints(b"x" * 2000)
    terminal.stream.leader_ended()
    for _ in range(100):
        terminal.prints(b"x" * 1000)
        terminal.stream.splice(1000)
        if terminal.stream.said_all:
            break
    assert terminal.stream.said_all
    assert terminal.stream.journal.end >= 64 * 1024


async def test_the_loop_does_not_spin_over_a_terminal_nobody_has_open(terminal: Terminal) -> None:
    looks = []

    def look() -> None:
        looks.append(asyncio.get_running_loop().time())
        terminal.pump()

    terminal.stream.watch(look)
    terminal.hang()
    async with asyncio.timeout(60):
        while len(looks) < 6:
            await asyncio.sleep(0.01)
    # Ten milliseconds at first, and twice as long after each look.
    assert all(later - earlier >= 0.009 * 2**number for number, (earlier, later) in enumerate(pairwise(looks)))
    terminal.open_again()
    terminal.prints(b"back")
    async with asyncio.timeout(60):
        while terminal.text != b"back":
            await asyncio.sleep(0.01)
    # From here on it is watched as before: no pause until it is seen.
    terminal.prints(b" again")
    looked = len(looks)
    async with asyncio.timeout(60):
        while terminal.text != b"back again":
            await asyncio.sleep(0)
    assert len(looks) <= looked + 2
    terminal.stream.unwatch()


def test_a_closed_one_remembers_its_size(terminal: Terminal) -> None:
    terminal.stream.resize(Size(cols=7, rows=8))
    terminal.stream.close()
    assert terminal.stream.size == Size(cols=7, rows=8)
    assert not terminal.stream.open
