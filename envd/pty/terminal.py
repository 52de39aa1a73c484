"""Viewers of terminals; one of them decides the size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.process.process import Process
from envd.process.tty import Size


@dataclass(frozen=True, slots=True)
class Resized:
    """The size now, and whether the viewer drives."""

    size: Size
    driving: bool


def id_of(process: Process) -> str:
    """Return a terminal's id: the same for every server, and never another's, as no two start in one microsecond."""
    identity = process.identity
    return f"pty-{identity.ident}-{round(identity.started_at * 1e6):x}"


class Terminal:
    """A terminal that has viewers. The rules of driving stand in pty.proto."""

    def __init__(self, process: Process) -> None:
        assert process.terminal is not None
        self.process = process
        self.viewers: set[TerminalSubscriber] = set()
        self.driver: TerminalSubscriber | None = None
        self._stream = process.terminal

    @property
    def size(self) -> Size:
        """The size now: the process itself may have changed it."""
        return self._stream.size

    def drive(self, viewer: TerminalSubscriber) -> None:
        """Have a viewer decide the size from now on."""
        if self.driver is viewer:
            return
        self.driver = viewer
        if viewer.size is not None:
            self._resize(viewer.size)
        self.process.output.subscribers.nudge()

    def wish(self, viewer: TerminalSubscriber, size: Size) -> None:
        """Set the size of a viewer's window; it takes effect if the viewer drives, or none does."""
        viewer.size = size
        if self.driver is None:
            self.drive(viewer)
        elif self.driver is viewer:
            self._resize(size)

    def _resize(self, size: Size) -> None:
        if self.process.alive:
            self.process.resize(size)

    def leave(self, viewer: TerminalSubscriber) -> None:
        """Remove a viewer; if it drove, none does any more."""
        self.viewers.discard(viewer)
        if self.driver is viewer:
            self.driver = None


class TerminalSubscriber:
    """One stream's part in a terminal.

    Attributes:
        size: of its window, None if it never said.
    """

    def __init__(self, terminal: Terminal, *, view_only: bool) -> None:
        self.terminal = terminal
        self.size: Size | None = None
        self._view_only = view_only
        self._failure: EnvdError | None = None
        self._last_state = self._state()

    def _state(self) -> Resized:
        return Resized(self.terminal.size, self.terminal.driver is self)

    def introduction(self) -> Resized:
        """Return how things are; from now on `news` tells what changes."""
        self._last_state = self._state()
        return self._last_state

    def news(self) -> Resized | None:
        """Return what has changed since it was told last, None if nothing has.

        Raises:
            EnvdError: its input failed.
        """
        if self._failure is not None:
            raise self._failure
        state = self._state()
        if state == self._last_state:
            return None
        self._last_state = state
        return state

    def fail(self, error: EnvdError) -> None:
        """End the stream with an error, unless the process's end is on its way anyway."""
        if self.terminal.process.alive:
            self._failure = error
            self.terminal.process.output.subscribers.nudge()

    def check_may_act(self) -> None:
        """Refuse input of a stream that may only view.

        Raises:
            EnvdError: FAILED_PRECONDITION.
        """
        if self._view_only:
            raise EnvdError(
                Code.FAILED_PRECONDITION,
                "this stream was attached with view_only and cannot send input: attach again without it",
            )

    def resize(self, size: Size) -> None:
        """Set the size of its window."""
        self.terminal.wish(self, size)


class Terminals:
    """The terminals that have viewers; one without any has nothing to remember but its size, which it keeps."""

    def __init__(self) -> None:
        self._watched: dict[int, Terminal] = {}

    def watched(self, process: Process) -> Terminal | None:
        """Return a terminal that is looked at, None if it is not."""
        return self._watched.get(process.identity.ident)

    @contextmanager
    def view(
        self, process: Process, *, size: Size | None, drives: bool, view_only: bool
    ) -> Iterator[TerminalSubscriber]:
        """Yield a new viewer, which leaves again on the way out.

        Args:
            process: whose terminal; it has one.
            size: of its window, if it said.
            drives: whether it drives from the start.
            view_only: it never drives, and its size does not matter.
        """
        terminal = self._watched.setdefault(process.identity.ident, Terminal(process))
        viewer = TerminalSubscriber(terminal, view_only=view_only)
        terminal.viewers.add(viewer)
        try:
            if drives:
                terminal.drive(viewer)
            if size is not None and not view_only:
                terminal.wish(viewer, size)
            yield viewer
        finally:
            terminal.leave(viewer)
            if not terminal.viewers:
                del self._watched[process.identity.ident]
