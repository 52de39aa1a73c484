"""The descriptors of a process: those it starts with, and those that server and keeper hold for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from envd.errors import Code, EnvdError, code_from_errno
from envd.host.users import User
from envd.keeper.client import KeeperClient

from .command import Command
from .events import PTY, STDERR, STDOUT
from .journal import Journal
from .ledger import Ledger
from .stream import PipeStream, Stream
from .terminal import TerminalStream
from .tty import Size, open_pair

# The keeper holds duplicates under these numbers.
SLOT_INPUT = 0
SLOT_LEDGER = 5
_SLOT_PIPE = {STDOUT: 1, STDERR: 2}
_SLOT_JOURNAL = {STDOUT: 3, STDERR: 4, PTY: 9}
_SLOT_MASTER, _SLOT_RELAY_OUT, _SLOT_RELAY_IN = 6, 7, 8
# The source of a stream, closed when the stream has ended.
_SLOTS_OF_SOURCE = {STDOUT: {1}, STDERR: {2}, PTY: {6, 7, 8}}

_PIPE_MODE = 0o666

Keep = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Descriptors of a new process: its own three, and those that are held for it, by slot."""

    stdio: list[int]
    held: dict[int, int]


def make_descriptors(ident: int, metadata: bytes, command: Command, user: User, unwind: ExitStack) -> Descriptors:
    """Make pipes or a terminal, journals and ledger; `unwind` closes what is held, the caller the process's own.

    Raises:
        EnvdError: RESOURCE_EXHAUSTED if there is no terminal, descriptor or memory left.
    """

    def keep(fd: int) -> int:
        unwind.callback(os.close, fd)
        return fd

    kind = "pipes" if command.terminal is None else "a terminal"
    try:
        held = {SLOT_LEDGER: keep(Ledger.create(f"envd-{ident}-ledger", metadata).fd)}
        if command.terminal is None:
            stdio = _make_pipes(ident, keep, held, user, stdin=command.stdin)
        else:
            stdio = _make_terminal(ident, keep, held, command.terminal, user)
    except OSError as exc:
        code = Code.RESOURCE_EXHAUSTED if command.terminal is not None else code_from_errno(exc.errno or 0)
        raise EnvdError(code, f"cannot make {kind} for a process: {exc.strerror}") from exc
    return Descriptors(stdio, held)


def _make_pipes(ident: int, keep: Keep, held: dict[int, int], user: User, *, stdin: bool) -> list[int]:
    """Add our ends to `held`, which do not block; return the process's, which do."""
    with ExitStack() as unwind:
        if stdin:
            theirs, ours = _pipe_of(user)
            held[SLOT_INPUT] = keep(ours)
            os.set_blocking(ours, False)
        else:
            theirs = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stdio = [theirs]
        unwind.callback(os.close, theirs)
        for number, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
            held[_SLOT_JOURNAL[number]] = keep(Journal.create(f"envd-{ident}-{name}").fd)
            ours, theirs = _pipe_of(user)
            stdio.append(theirs)
            unwind.callback(os.close, theirs)
            held[_SLOT_PIPE[number]] = keep(ours)
            os.set_blocking(ours, False)
        unwind.pop_all()
    return stdio


def _pipe_of(user: User) -> tuple[int, int]:
    """Return the ends of a pipe that the process may open again, as /dev/stdout and /proc/self/fd/1 do.

    The kernel then checks owner and mode of its inode: a process that has dropped its privileges, now or later, would
    be refused. Nobody else gets to it: the way there is /proc/PID/fd, which the kernel shows to those that may trace
    PID.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a kernel where pipes have no owner, a user namespace without this user
        os.fchmod(writer, _PIPE_MODE)
        if os.geteuid() == 0:
            os.fchown(writer, user.uid, user.gid)
    return reader, writer


def _make_terminal(ident: int, keep: Keep, held: dict[int, int], size: Size, user: User) -> list[int]:
    """Add the master side and the relay to `held`; return the slave side, three times."""
    with open_pair(size, user) as (master, slave), ExitStack() as unwind:
        held[_SLOT_JOURNAL[PTY]] = keep(Journal.create(f"envd-{ident}-pty").fd)
        relay_out, relay_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        held[_SLOT_RELAY_OUT], held[_SLOT_RELAY_IN] = keep(relay_out), keep(relay_in)
        held[_SLOT_MASTER], held[SLOT_INPUT] = keep(os.dup(master)), keep(os.dup(master))
        stdio = []
        for _ in range(3):
            stdio.append(os.dup(slave))
            unwind.callback(os.close, stdio[-1])
        unwind.pop_all()
    return stdio


def streams_from(held: Mapping[int, int], command: Command) -> dict[int, Stream]:
    """Return a process's streams, of what is still held for it."""
    if command.terminal is None:
        return {
            number: PipeStream(number, _journal(held, number), held.get(slot, -1))
            for number, slot in _SLOT_PIPE.items()
        }
    master, *relay = (held.get(slot, -1) for slot in (_SLOT_MASTER, _SLOT_RELAY_OUT, _SLOT_RELAY_IN))
    return {PTY: TerminalStream(_journal(held, PTY), master, (relay[0], relay[1]), command.terminal)}


def has_terminal(held: Mapping[int, int]) -> bool:
    """Tell from what is held for a process whether it runs in a terminal."""
    return _SLOT_MASTER in held or _SLOT_JOURNAL[PTY] in held


def _journal(held: Mapping[int, int], number: int) -> Journal:
    """Return a stream's journal; one that stayed empty is closed when the process ends, and made anew here."""
    slot = _SLOT_JOURNAL[number]
    return Journal(held[slot]) if slot in held else Journal.create("empty")


class Releases:
    """Closes the descriptors in the keeper that a process needs no more."""

    def __init__(self, keeper: KeeperClient, ident: int, slots: set[int], streams: Mapping[int, Stream]) -> None:
        self._keeper = keeper
        self._ident = ident
        self._slots = slots
        self._streams = streams

    def input(self) -> None:
        """Let the process's input end: it does only when the keeper's duplicate is closed too."""
        self._release({SLOT_INPUT})

    def ended(self) -> None:
        """Release all but journals that hold something and what somebody can still print to."""
        slots = {SLOT_INPUT}
        for number, stream in self._streams.items():
            if stream.open:
                continue
            slots |= _SLOTS_OF_SOURCE[number]
            if stream.journal.end == 0:
                stream.journal.close()
                slots.add(_SLOT_JOURNAL[number])
        self._release(slots)

    def _release(self, slots: set[int]) -> None:
        slots &= self._slots
        self._slots -= slots
        if slots:
            self._keeper.close(self._ident, list(slots))
