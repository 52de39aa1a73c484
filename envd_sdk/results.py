"""Results and descriptions of commands and terminals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal

# Text of standard output, text of standard error, bytes of a terminal.
Stdout = str
Stderr = str
PtyOutput = bytes

# The name of a user of the sandbox.
Username = str

StreamName = Literal["stdout", "stderr", "pty"]


@dataclass(frozen=True)
class OutputGap:
    """Output that is gone: the daemon no longer had it when it was asked for.

    Attributes:
        stream: of which stream.
        begin: offset of the first missing byte.
        end: offset of the first byte after it.
    """

    stream: StreamName
    begin: int
    end: int


@dataclass(frozen=True)
class OutputPosition:
    """A position in the output of one command or terminal: how many bytes of each stream lie before it.

    It can be kept: `to_json` is a line of text, of which `from_json` makes the same position, in another process too.

    Attributes:
        started_at_us: when the command was started, in microseconds since 1970; tells it from a later one with its pid.
            0 if that is not known.
    """

    stdout: int = 0
    stderr: int = 0
    pty: int = 0
    started_at_us: int = 0

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> OutputPosition:
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        data = json.loads(text)
        names = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or not all(isinstance(data.get(name, 0), int) for name in names):
            raise ValueError(f"{text!r} is no place in an output")
        return cls(**{name: data[name] for name in names & data.keys()})


@dataclass
class CommandResult:
    """The result of a command.

    Attributes:
        stderr: what it printed to standard error.
        stdout: what it printed to standard output.
        exit_code: 0 to 255; -1 if a signal ended it.
        error: for people, "exit status 3" or "signal: killed"; None if it ended with 0.
        gaps: output that was no longer kept. Empty unless the command was followed late, or not for longer than the
            daemon keeps what it prints.
    """

    stderr: str
    stdout: str
    exit_code: int
    error: str | None = None
    gaps: tuple[OutputGap, ...] = field(default=(), repr=False)


@dataclass
class ProcessInfo:
    """A command the sandbox knows.

    Attributes:
        pid: its process id.
        cmd: the executable; what `commands.run` started is a shell with the command in `args`.
        tag: a name to find it by, if it was given one.
        user: whose rights it has.
        exit_code: how it ended; None while it runs.
    """

    pid: int
    cmd: str
    tag: str | None = None
    args: list[str] = field(default_factory=list)
    envs: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class PtySize:
    """The size of a terminal, in character cells, 1 to 65535 each."""

    rows: int
    cols: int


@dataclass(frozen=True)
class TerminalInfo:
    """A terminal the sandbox knows.

    Attributes:
        terminal_id: never used again for another one.
        pid: of the process in it.
        size: as it is now.
        kept_from: offset of the oldest byte of output that is kept.
        output_end: offset where its output ends so far.
        exit_code: how it ended; None while it is open.
    """

    terminal_id: str
    pid: int
    size: PtySize
    kept_from: int
    output_end: int
    exit_code: int | None = None
