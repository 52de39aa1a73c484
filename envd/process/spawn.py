"""Making a program: its descriptors, its recipe, its outcome; and taking over one that an earlier server made."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from envd.errors import Code, EnvdError, code_from_errno
from envd.host import paths
from envd.host.session import Session
from envd.host.users import User
from envd.keeper.client import Inherited, KeeperClient, Spawned

from .command import Command
from .ending import is_missing
from .events import STDERR, STDOUT
from .input import Input
from .journal import Journal
from .ledger import Ledger
from .output import Output
from .pool import Pool
from .running import Drain, Identity, Running
from .stream import Stream

# The keeper holds duplicates under these numbers.
SLOT_STDIN = 0
SLOT_PIPE = {STDOUT: 1, STDERR: 2}
SLOT_JOURNAL = {STDOUT: 3, STDERR: 4}
SLOT_LEDGER = 5


@dataclass(frozen=True, slots=True)
class _Descriptors:
    """What a program is started with: its own three, and what is held for it by slot."""

    stdio: list[int]
    held: dict[int, int]


class Spawner:
    """Makes and adopts programs.

    Args:
        stall_s: see envd.process.output.
        mark_base: added to an ident to mark a program's tree; 0 if this kernel keeps no marks.
    """

    def __init__(
        self, keeper: KeeperClient, session: Session, pool: Pool, drain: Drain, *, stall_s: float, mark_base: int
    ) -> None:
        self._keeper = keeper
        self.session = session
        self._pool = pool
        self._drain = drain
        self._stall_s = stall_s
        self._mark_base = mark_base

    async def start(self, ident: int, command: Command, user: User) -> Running:
        """Start a program as a user; returns when it runs, or cannot be executed (then its `exec_failure` is set).

        Raises:
            EnvdError: INVALID_ARGUMENT for a command line, working directory or limit it cannot have,
                RESOURCE_EXHAUSTED if the machine has no process, memory or descriptor left.
        """
        cwd = paths.resolve(command.cwd or "", user, self.session.default_workdir)
        facts = _Facts(user.name, time.time(), time.monotonic())
        metadata = facts.to_json() + b"\n" + command.to_json()
        with ExitStack() as unwind:
            descriptors = _make_descriptors(ident, metadata, stdin=command.stdin, unwind=unwind)
            spawned = await self._spawn(ident, self._recipe(ident, command, user, cwd), descriptors)
            if spawned.errno and not _is_exec_failure(spawned):
                self._keeper.forget([ident])
                raise _refusal(spawned, command, user, cwd)
            unwind.pop_all()
        ledger = Ledger(descriptors.held[SLOT_LEDGER], metadata)
        return self._running(
            Identity(ident, spawned.pid, self._mark(ident), *facts), command, ledger, descriptors.held, spawned
        )

    async def _spawn(self, ident: int, recipe: dict[str, object], descriptors: _Descriptors) -> Spawned:
        spawning = self._keeper.spawn(ident, recipe, descriptors.stdio, descriptors.held)
        try:
            return await spawning
        finally:
            # The program has its own; ours would keep its pipes from ever ending.
            for fd in descriptors.stdio:
                os.close(fd)

    def adopt(self, inherited: Inherited, spawned: Spawned) -> Running | None:
        """Take over a program that an earlier server started; None if it never ran and nobody needs to know.

        Raises:
            ValueError: what it left cannot be read.
        """
        if spawned.errno and not _is_exec_failure(spawned):
            return None
        ident, held = inherited.ident, inherited.descriptors
        ledger = Ledger.adopt(held[SLOT_LEDGER])
        facts_json, _, command_json = ledger.metadata.partition(b"\n")
        identity = Identity(ident, spawned.pid, self._mark(ident), *_Facts.from_json(facts_json))
        running = self._running(identity, Command.from_json(command_json), ledger, held, spawned)
        ledger.settle(running.output.ends)
        return running

    @staticmethod
    def key_of(inherited: Inherited) -> str | None:
        """Return the idempotency key of a program that an earlier server started, None if it has none."""
        try:
            metadata = Ledger.adopt(inherited.descriptors[SLOT_LEDGER]).metadata
            return Command.from_json(metadata.partition(b"\n")[2]).key
        except (ValueError, KeyError, OSError):
            return None

    def _recipe(self, ident: int, command: Command, user: User, cwd: str) -> dict[str, object]:
        env = self.session.environment_of(user, command.envs)
        return {
            "argv": [os.fsencode(text) for text in (command.cmd, *command.args)],
            "env": {os.fsencode(name): os.fsencode(value) for name, value in env.items()},
            "cwd": os.fsencode(cwd),
            # As login(1): an account without its home starts in /.
            "fallback_cwd": b"" if command.cwd or self.session.default_workdir else b"/",
            "credentials": (user.uid, user.gid, list(user.groups)) if os.geteuid() == 0 else None,
            "rlimits": command.rlimits(),
            "nice": command.nice,
            "oom_score_adj": command.oom_score_adj,
            "mark": self._mark(ident),
        }

    def _mark(self, ident: int) -> int:
        return self._mark_base + ident if self._mark_base else 0

    def _running(
        self, identity: Identity, command: Command, ledger: Ledger, held: Mapping[int, int], spawned: Spawned
    ) -> Running:
        streams = {
            number: Stream(number, _journal(held, number), held.get(SLOT_PIPE[number], -1))
            for number in (STDOUT, STDERR)
        }
        releases = _Releases(self._keeper, identity.ident, set(held), streams)
        output = Output(streams, ledger, self._pool, self._stall_s, lambda: running.pipe_closed())  # noqa: PLW0108 - it is made below
        stdin = Input(spawned.pid, held.get(SLOT_STDIN, -1), releases.stdin)
        running = Running(identity, command, output, stdin, self._drain, releases.ended)
        if spawned.errno:
            running.exec_failure = (spawned.errno, spawned.stage)
            _explain(running, spawned)
        return running


class _Releases:
    """Lets go, in the keeper, of what a program needs no more."""

    def __init__(self, keeper: KeeperClient, ident: int, slots: set[int], streams: Mapping[int, Stream]) -> None:
        self._keeper = keeper
        self._ident = ident
        self._slots = slots
        self._streams = streams

    def stdin(self) -> None:
        """Let the program's input end: it does only when the keeper's duplicate is closed too."""
        self._release({SLOT_STDIN})

    def ended(self) -> None:
        """Release all but journals that hold something and pipes that somebody still writes to."""
        slots = {SLOT_STDIN}
        for number, stream in self._streams.items():
            if stream.pipe >= 0:
                continue
            slots.add(SLOT_PIPE[number])
            if stream.journal.end == 0:
                stream.journal.close()
                slots.add(SLOT_JOURNAL[number])
        self._release(slots)

    def _release(self, slots: set[int]) -> None:
        slots &= self._slots
        self._slots -= slots
        if slots:
            self._keeper.close(self._ident, list(slots))


class _Facts(NamedTuple):
    """What the ledger keeps beside the command; see Identity."""

    user: str
    started_at: float
    started_clock: float

    def to_json(self) -> bytes:
        """Serialise for the ledger."""
        return json.dumps(self).encode()

    @classmethod
    def from_json(cls, data: bytes) -> _Facts:
        """Read back what to_json wrote."""
        return cls(*json.loads(data))


def _journal(held: Mapping[int, int], number: int) -> Journal:
    """Return a stream's journal; one that stayed empty is let go of when the program ends, and made anew here."""
    slot = SLOT_JOURNAL[number]
    return Journal(held[slot]) if slot in held else Journal.create("empty")


def _make_descriptors(ident: int, metadata: bytes, *, stdin: bool, unwind: ExitStack) -> _Descriptors:
    """Make pipes, journals and ledger; `unwind` closes what is held. Our ends do not block, the program's do."""

    def keep(fd: int) -> int:
        unwind.callback(os.close, fd)
        return fd

    try:
        with ExitStack() as unwind_stdio:
            held = {SLOT_LEDGER: keep(Ledger.create(f"envd-{ident}-ledger", metadata).fd)}
            if stdin:
                ours_is_write = os.pipe2(os.O_CLOEXEC)
                stdio = [ours_is_write[0]]
                held[SLOT_STDIN] = keep(ours_is_write[1])
                os.set_blocking(ours_is_write[1], False)
            else:
                stdio = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)]
            unwind_stdio.callback(os.close, stdio[0])
            for number, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
                held[SLOT_JOURNAL[number]] = keep(Journal.create(f"envd-{ident}-{name}").fd)
                ours, theirs = os.pipe2(os.O_CLOEXEC)
                stdio.append(theirs)
                unwind_stdio.callback(os.close, theirs)
                held[SLOT_PIPE[number]] = keep(ours)
                os.set_blocking(ours, False)
            unwind_stdio.pop_all()
    except OSError as exc:
        raise EnvdError(code_from_errno(exc.errno or 0), f"cannot make pipes for a program: {exc.strerror}") from exc
    return _Descriptors(stdio, held)


def _is_exec_failure(spawned: Spawned) -> bool:
    return spawned.stage == "exec" and spawned.errno not in (errno.E2BIG, errno.EINVAL, errno.ENOMEM)


def _refusal(spawned: Spawned, command: Command, user: User, cwd: str) -> EnvdError:
    """Say why a program could not be started, in the terms of what the client asked for."""
    reason = os.strerror(spawned.errno).lower()
    if spawned.stage == "cwd":
        if spawned.errno == errno.ENOENT:
            return EnvdError(Code.INVALID_ARGUMENT, f"cwd '{cwd}' does not exist")
        return EnvdError(Code.INVALID_ARGUMENT, f"cannot start '{command.cmd}' in '{cwd}' as '{user.name}': {reason}")
    if spawned.stage == "timeout":
        return EnvdError(
            Code.DEADLINE_EXCEEDED,
            f"cannot start '{command.cmd}': entering '{cwd}' or executing it took too long and was given up",
        )
    if spawned.stage == "limits":
        return EnvdError(Code.INVALID_ARGUMENT, f"cannot start '{command.cmd}' with these limits: {reason}")
    return EnvdError(
        code_from_errno(spawned.errno), f"cannot start '{command.cmd}' as '{user.name}': {spawned.stage}: {reason}"
    )


def _explain(running: Running, spawned: Spawned) -> None:
    """Tell a reader of stderr what a shell would: clients of the reference look for it there."""
    if running.output.ends[STDERR] == 0:
        reason = "No such file or directory" if is_missing(spawned.errno) else os.strerror(spawned.errno)
        line = f"envd: '{running.command.cmd}': {reason}\n"
        running.output.say(STDERR, line.encode(errors="replace"))
