"""A process, from its start to the moment it is forgotten."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from envd.config import Output
from envd.errors import Code, EnvdError
from envd.keeper.client import ExitRecord

from .command import Command
from .events import Cause, Ended, Event, KeepAlive, Started
from .exit_status import ended_from
from .input import Input
from .output import ProcessOutput
from .subscription import Subscription
from .terminal import TerminalStream
from .tty import Size

Aside = TypeVar("Aside")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The properties of a process that do not change.

    Attributes:
        ident: the keeper's number for it.
        mark: see envd.host.process_tree.
        started_at: seconds since the epoch.
        started_clock: the same on the monotonic clock, which all processes of the machine share.
        caller: the user its caller named, None for the default one, or if an envd 0.7.0 started it.
    """

    ident: int
    pid: int
    mark: int
    user: str
    started_at: float
    started_clock: float
    caller: str | None = None


class Process:
    """A process: its identity, its input, its output, and its end.

    Args:
        release: called when the process and its end are settled, and again when a stream closes after that.

    Attributes:
        terminal: the terminal it runs in, None for pipes.
        left_behind: called when the process has ended but something still holds its output; must call `end`.
        finished: called once, when the end is known.
        gone: set when the process itself has ended.
        cause: why the daemon ends it, None while it does not.
        finished_clock: when its end was announced (monotonic seconds), None before.
        end_told: a subscriber was handed its end and went on reading.
    """

    def __init__(
        self,
        identity: ProcessIdentity,
        command: Command,
        output: ProcessOutput,
        stdin: Input,
        config: Output,
        release: Callable[[], None],
    ) -> None:
        self.identity = identity
        self.command = command
        self.output = output
        self.input = stdin
        self.terminal: TerminalStream | None = None
        self.exec_failure: tuple[int, str] | None = None
        self.cause: Cause | None = None
        self.ended: Ended | None = None
        self.exit_record: ExitRecord | None = None
        self.left_behind: Callable[[Process], None] = Process.end
        self.finished: Callable[[Process], None] = _nothing
        self.gone = asyncio.Event()
        self._config = config
        self._release = release
        self._exited_clock = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._end_decided = False
        self._requested: set[int] = set()
        self._held_by: tuple[int, ...] = ()
        self.finished_clock: float | None = None
        self.end_told = False

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def alive(self) -> bool:
        """True until the process itself has ended, whatever it left behind."""
        return self.exit_record is None

    @property
    def active_at(self) -> float:
        """Time of its last reading or printing (monotonic seconds); now, while it waits for a reader."""
        if self.output.waiting:
            return time.monotonic()
        return max(self.identity.started_clock, self.output.last_byte_at, self.input.last_byte_at)

    def blame(self, cause: Cause) -> None:
        """Note why the daemon ends it; the first reason counts."""
        if self.cause is None:
            self.cause = cause
            self._remember()

    def signalled(self, number: int) -> None:
        """Note that a client asked for a signal; if it ends by that one, the client did it."""
        self._requested.add(number)
        self._remember()

    def resize(self, size: Size) -> None:
        """Change the size of its terminal, and have subscribers see it.

        Raises:
            EnvdError: INTERNAL if it has none.
        """
        if self.terminal is None:
            raise EnvdError(Code.INTERNAL, "error resizing tty: tty not assigned to process")
        self.terminal.resize(size)
        self.output.subscribers.nudge()

    # Its end.

    def exited(self, record: ExitRecord) -> None:
        """Record the exit of the process itself; the end is announced when its output is in."""
        if self.exit_record is not None:
            return
        self.exit_record = record
        self.gone.set()
        self.input.close()
        self._exited_clock = time.monotonic()
        self.output.leader_ended()
        self.check_drained()

    def stream_closed(self) -> None:
        """Check, after a stream has ended, whether all have."""
        if self.ended is None:
            self.check_drained()
        else:
            self._release()

    def check_drained(self) -> None:
        """Announce the end if all output is in, or what still holds it has been quiet long enough."""
        if self.exit_record is None or self._end_decided:
            return
        if not self.output.open:
            self._end_decided = True
            self.end()
        elif self._drained():
            self._end_decided = True
            self.left_behind(self)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._config.drain_s / 4, self._check_again)

    def _drained(self) -> bool:
        if not self.output.said_all:
            return False
        now = time.monotonic()
        quiet_s = now - max(self.output.last_byte_at, self._exited_clock)
        return quiet_s >= self._config.drain_s or now - self._exited_clock >= self._config.drain_at_most_s

    def _check_again(self) -> None:
        self._timer = None
        self.check_drained()

    def end(self, held_by: tuple[int, ...] = ()) -> None:
        """Announce the end."""
        assert self.exit_record is not None
        self._held_by, self.finished_clock = held_by, time.monotonic()
        self.ended = self._end_from(self.exit_record)
        if self._timer is not None:
            self._timer.cancel()
        self._remember()
        self._release()
        self.finished(self)
        self.output.subscribers.wake()

    def _end_from(self, record: ExitRecord) -> Ended:
        return ended_from(
            record,
            cause=self.cause or self._cause_of(record),
            exec_failure=self.exec_failure,
            held_by=self._held_by,
            output=self.output.position,
            started_at=self.identity.started_at,
        )

    def _remember(self) -> None:
        """Keep in the ledger what only this server knows of the end."""
        size = None if self.terminal is None else dataclasses.astuple(self.terminal.size)
        fields = (self.cause, sorted(self._requested), self._held_by, self.finished_clock, size, self.end_told)
        self.output.ledger.write_end(json.dumps(fields).encode())

    def _note_told(self) -> None:
        if not self.end_told:
            self.end_told = True
            self._remember()

    def recall(self) -> bool:
        """Take over what an earlier server knew of the end; True if it had announced it."""
        record = self.output.ledger.read_end()
        if record:
            cause, requested, held_by, self.finished_clock, size, *rest = json.loads(record)[:6]
            self.end_told = bool(rest and rest[0])
            self.cause = Cause(cause) if cause in iter(Cause) else None  # a later version may know more of them
            self._requested, self._held_by = set(requested), tuple(held_by)
            if self.terminal is not None and not self.terminal.open:
                self.terminal.resize(Size(*size))
        return self.finished_clock is not None

    def end_again(self, record: ExitRecord) -> None:
        """Become finished, as the server that announced the end had left it."""
        self.exit_record = record
        self._end_decided = True
        self.gone.set()
        self.input.close()
        self.output.leader_ended()
        self.ended = self._end_from(record)
        self._release()

    def _cause_of(self, record: ExitRecord) -> Cause:
        signalled = os.WIFSIGNALED(record.status) and os.WTERMSIG(record.status) in self._requested
        return Cause.SIGNAL_REQUEST if signalled else Cause.ITSELF

    # Following it.

    async def follow(
        self,
        subscription: Subscription,
        *,
        existing: bool,
        keepalive_s: float,
        aside: Callable[[], Aside | None],
    ) -> AsyncGenerator[Event | Aside, None]:
        """Yield what a subscriber sees, from Started to Ended.

        Args:
            subscription: its place; it leaves when this ends.
            existing: what Started says.
            keepalive_s: a KeepAlive comes after this long without another event.
            aside: asked before each event for one of the caller's own, also after `subscription.nudge`.
        """
        try:
            yield Started(self.pid, existing, subscription.position, self.identity.started_at)
            async with aclosing(self._events(subscription, keepalive_s, aside)) as events:
                async for event in events:
                    yield event
                    self.output.subscribers.note_progress(subscription)
        finally:
            self.output.leave(subscription)

    async def _events(
        self, subscription: Subscription, keepalive_s: float, aside: Callable[[], Aside | None]
    ) -> AsyncGenerator[Event | Aside, None]:
        while True:
            event = aside() or subscription.take()
            if event is not None:
                yield event
                await asyncio.sleep(0)  # others have a turn between two pieces
            elif self.ended is not None:
                yield self.ended
                self._note_told()
                return
            elif not await subscription.wait(keepalive_s):
                yield KeepAlive()


def nothing_aside() -> None:
    """Return no event beside a process's own."""


def _nothing(_: Process) -> None:
    """Stand in until the table is told."""
