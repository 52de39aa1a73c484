"""Spawner: starts processes through the keeper, and takes over those that an earlier server started."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

from envd.config import Output
from envd.errors import Code, EnvdError, code_from_errno
from envd.host import paths
from envd.host.session import Session, Surroundings
from envd.host.unreadable import UNREADABLE
from envd.host.users import User
from envd.keeper.client import Inherited, KeeperClient, Spawned

from .command import Command
from .descriptors import SLOT_INPUT, SLOT_LEDGER, Descriptors, Releases, has_terminal, make_descriptors, streams_from
from .events import PTY, STDERR
from .exit_status import is_missing
from .idempotent_input import IdempotentInput
from .input import Input
from .journal_budget import JournalBudget
from .ledger import Ledger
from .output import ProcessOutput
from .process import Process, ProcessIdentity
from .terminal import TerminalStream
from .tty import Size
from .turns import in_turns

log = logging.getLogger("envd.process")

_TERMINAL = Size(80, 24)  # of a process whose own size is not known


class Spawner:
    """Makes and adopts processes.

    Args:
        config: how much of output is kept, and for how long it is awaited.
        mark_base: added to an ident to mark a process's tree; 0 if this kernel keeps no marks.
    """

    def __init__(
        self, keeper: KeeperClient, session: Session, pool: JournalBudget, config: Output, *, mark_base: int
    ) -> None:
        self._keeper = keeper
        self.session = session
        self._pool = pool
        self._config = config
        self._mark_base = mark_base

    async def start(self, ident: int, command: Command, surroundings: Surroundings, caller: str | None) -> Process:
        """Start a process; returns when it runs, or cannot be executed (then its `exec_failure` is set).

        Args:
            ident: from the keeper.
            command: what to run.
            surroundings: its user, environment and directory.
            caller: the user its caller named.

        Raises:
            EnvdError: INVALID_ARGUMENT for a command line, working directory or limit it cannot have,
                RESOURCE_EXHAUSTED if the machine has no process, memory or descriptor left.
        """
        user = surroundings.user
        cwd = paths.resolve(command.cwd or "", user, surroundings.workdir)
        facts = _Facts(user.name, time.time(), time.monotonic(), caller)
        metadata = b"".join([facts.to_json(), b"\n", *await in_turns(command.json_pieces())])
        env = dict(await in_turns(command.environment(surroundings.environment)))
        with ExitStack() as unwind:
            descriptors = make_descriptors(ident, metadata, command, user, unwind)
            spawned = await self._spawn(ident, self._recipe(ident, command, surroundings, cwd, env), descriptors)
            if spawned.errno and not _is_exec_failure(spawned):
                self._keeper.forget([ident])
                raise _refusal(spawned, command, user, cwd)
            unwind.pop_all()
        ledger = Ledger(descriptors.held[SLOT_LEDGER], metadata)
        return self._assemble(
            ProcessIdentity(ident, spawned.pid, self._mark(ident), *facts), command, ledger, descriptors.held, spawned
        )

    async def _spawn(self, ident: int, recipe: dict[str, object], descriptors: Descriptors) -> Spawned:
        spawning = self._keeper.spawn(ident, recipe, descriptors.stdio, descriptors.held)
        try:
            return await spawning
        finally:
            # The process has its own; ours would keep its output from ever ending.
            for fd in descriptors.stdio:
                os.close(fd)

    def adopt(self, inherited: Inherited, spawned: Spawned) -> Process | None:
        """Take over a process that an earlier server started; None if it never ran.

        Raises:
            Exception: one of UNREADABLE; nothing can be made of what it left.
        """
        if spawned.errno and not _is_exec_failure(spawned):
            return None
        try:
            return self._read(inherited, spawned)
        except UNREADABLE:
            log.exception("what is kept of a process cannot be read: it goes on without", extra={"pid": spawned.pid})
            return self._without_record(inherited, spawned)

    def _read(self, inherited: Inherited, spawned: Spawned) -> Process:
        ident, held = inherited.ident, inherited.descriptors
        ledger = Ledger.adopt(held[SLOT_LEDGER])
        facts_json, _, command_json = ledger.metadata.partition(b"\n")
        identity = ProcessIdentity(ident, spawned.pid, self._mark(ident), *_Facts.from_json(facts_json))
        process = self._assemble(identity, Command.from_json(command_json), ledger, held, spawned)
        ledger.settle(process.output.ends)
        return process

    def _without_record(self, inherited: Inherited, spawned: Spawned) -> Process:
        """Take over a process of which only pid and descriptors are known: it can be followed, signalled and ended."""
        ident, held = inherited.ident, inherited.descriptors
        command = Command("unknown", terminal=_TERMINAL if has_terminal(held) else None)
        facts = _Facts("", time.time(), time.monotonic())
        ledger = Ledger.create(f"envd-{ident}-ledger", facts.to_json() + b"\n" + command.to_json())
        process = self._assemble(
            ProcessIdentity(ident, spawned.pid, self._mark(ident), *facts), command, ledger, held, spawned
        )
        ledger.settle(process.output.ends)
        return process

    @staticmethod
    def key_of(inherited: Inherited) -> str | None:
        """Return the idempotency key of a process that an earlier server started, None if it has none."""
        try:
            metadata = Ledger.adopt(inherited.descriptors[SLOT_LEDGER]).metadata
            return Command.from_json(metadata.partition(b"\n")[2]).key
        except UNREADABLE:
            return None

    def _recipe(
        self, ident: int, command: Command, surroundings: Surroundings, cwd: str, env: dict[bytes, bytes]
    ) -> dict[str, object]:
        user = surroundings.user
        return {
            "argv": [os.fsencode(text) for text in (command.cmd, *command.args)],
            "env": env,
            "cwd": os.fsencode(cwd),
            # As login(1): an account without its home starts in /.
            "fallback_cwd": b"" if command.cwd or surroundings.workdir else b"/",
            "credentials": (user.uid, user.gid, list(user.groups)) if os.geteuid() == 0 else None,
            "rlimits": command.rlimits(),
            "nice": command.nice,
            "oom_score_adj": command.oom_score_adj,
            "mark": self._mark(ident),
            "tty": command.terminal is not None,
        }

    def _mark(self, ident: int) -> int:
        return self._mark_base + ident if self._mark_base else 0

    def _assemble(
        self, identity: ProcessIdentity, command: Command, ledger: Ledger, held: Mapping[int, int], spawned: Spawned
    ) -> Process:
        streams = streams_from(held, command)
        releases = Releases(self._keeper, identity.ident, set(held), streams)
        output = ProcessOutput(streams, ledger, self._pool, self._config, lambda: process.stream_closed())  # noqa: PLW0108 - it is made below
        name = "stdin" if command.terminal is None else "tty"
        read = Input(spawned.pid, name, held.get(SLOT_INPUT, -1), releases.input, IdempotentInput(ledger))
        process = Process(identity, command, output, read, self._config, releases.ended)
        process.terminal = next((stream for stream in streams.values() if isinstance(stream, TerminalStream)), None)
        if spawned.errno:
            process.exec_failure = (spawned.errno, spawned.stage)
            _explain(process, spawned)
        return process


class _Facts(NamedTuple):
    """The properties that the ledger keeps beside the command; see ProcessIdentity."""

    user: str
    started_at: float
    started_clock: float
    caller: str | None = None

    def to_json(self) -> bytes:
        """Serialise for the ledger."""
        return json.dumps(self).encode()

    @classmethod
    def from_json(cls, data: bytes) -> _Facts:
        """Read back what to_json wrote; a later version may add, an earlier one had less."""
        return cls(*json.loads(data)[: len(cls._fields)])


def _is_exec_failure(spawned: Spawned) -> bool:
    return spawned.stage == "exec" and spawned.errno not in (errno.E2BIG, errno.EINVAL, errno.ENOMEM)


def _refusal(spawned: Spawned, command: Command, user: User, cwd: str) -> EnvdError:
    """Say why a process could not be started, in the terms of what the client asked for."""
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


def _explain(process: Process, spawned: Spawned) -> None:
    """Tell a reader of stderr or the terminal what a shell would: clients of the reference look for it there."""
    stream, newline = (STDERR, "\n") if process.command.terminal is None else (PTY, "\r\n")
    if process.output.ends[stream] == 0:
        reason = "No such file or directory" if is_missing(spawned.errno) else os.strerror(spawned.errno)
        line = f"envd: '{process.command.cmd}': {reason}{newline}"
        process.output.say(stream, line.encode(errors="replace"))
