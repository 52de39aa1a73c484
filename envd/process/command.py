"""Command: the request to run a process."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

from envd.errors import Code, EnvdError

from .tty import Size

_KEY_BYTES = 255
_VERSION = 2  # of the form in the ledger; 0.7.0 wrote none
_NICE = range(-20, 20)
_LARGEST_LIMIT = 2**63 - 1
_UNLIMITED = 2**64 - 1  # RLIM_INFINITY
_OOM_SCORE_ADJ = range(-1000, 1001)
_NUL = "a command, argument or environment variable cannot contain a NUL byte"
_BATCH = 64
_Item = TypeVar("_Item")
_ASKED = ("cmd", "args", "envs", "tag", "timeouts")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Milliseconds after which the daemon ends the process, 0 for never; `grace_ms` from SIGTERM to SIGKILL."""

    wall_ms: int = 0
    idle_ms: int = 0
    grace_ms: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """One process to run.

    Attributes:
        limits: resource (a RLIMIT_* number) to its soft and hard limit.
        deadline_ms: kill the tree this long after the start; 0 for never.
        terminal: window of the terminal it runs in, None for pipes.
        term: value of TERM, unless the process's environment has one; empty for none.
    """

    cmd: str
    args: tuple[str, ...] = ()
    envs: dict[str, str] = dataclasses.field(default_factory=dict)
    cwd: str | None = None
    tag: str | None = None
    stdin: bool = True
    key: str | None = None
    timeouts: Timeouts = Timeouts()
    limits: tuple[tuple[int, int], ...] = ()
    nice: int = 0
    oom_score_adj: int = 100
    deadline_ms: int = 0
    terminal: Size | None = None
    term: str = ""

    def checks(self) -> Iterator[None]:
        """Refuse what no process can be started with, in steps: there may be many arguments and variables.

        Raises:
            EnvdError: INVALID_ARGUMENT, saying what to change.
        """
        if self.key is not None:
            check_key(self.key)
        if any(value > _LARGEST_LIMIT and value != _UNLIMITED for _, value in self.limits):
            raise _invalid(f"a limit must be at most {_LARGEST_LIMIT}, or {_UNLIMITED} for none")
        if self.nice not in _NICE:
            raise _invalid(f"limits.nice must be from -20 to 19, not {self.nice}")
        if self.oom_score_adj not in _OOM_SCORE_ADJ:
            raise _invalid(f"limits.oom_score_adj must be from -1000 to 1000, not {self.oom_score_adj}")
        for text in (self.cmd, *self.args):
            if "\0" in text:
                raise _invalid(_NUL)
            yield
        for name, value in self.envs.items():
            if "\0" in name or "\0" in value:
                raise _invalid(_NUL)
            if not name or "=" in name:
                raise _invalid(f"'{name}' cannot name an environment variable: it is empty or contains '='")
            yield

    def rlimits(self) -> list[tuple[int, int, int]]:
        """Return the limits as setrlimit(2) of Python takes them: resource, soft, hard, -1 for none."""
        limits = [(which, -1 if value == _UNLIMITED else value) for which, value in self.limits]
        return [(which, value, value) for which, value in limits]

    def to_json(self) -> bytes:
        """Serialise for the ledger."""
        return b"".join(self.json_pieces())

    def json_pieces(self) -> Iterator[bytes]:
        """Yield what to_json returns, a little at a time."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in ("args", "envs")}
        fields = {"version": _VERSION, **plain}
        fields["timeouts"] = (self.timeouts.wall_ms, self.timeouts.idle_ms, self.timeouts.grace_ms)
        fields["terminal"] = self.terminal and (self.terminal.cols, self.terminal.rows)
        yield json.dumps(fields).encode()[:-1] + b', "args": ['
        yield from _listed(json.dumps(batch)[1:-1] for batch in _batches(self.args))
        yield b'], "envs": {'
        yield from _listed(json.dumps(dict(batch))[1:-1] for batch in _batches(self.envs.items()))
        yield b"}}"

    def environment(self, surroundings: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
        """Yield the variables it gets beside those `around` it, as the kernel takes them; later ones count."""
        for name, value in chain(surroundings.items(), self.envs.items()):
            yield os.fsencode(name), os.fsencode(value)
        if self.term and "TERM" not in self.envs and "TERM" not in surroundings:
            yield b"TERM", os.fsencode(self.term)

    @classmethod
    def from_json(cls, data: bytes) -> Command:
        """Read back what to_json wrote, here or in another version: what is missing has its default."""
        written = json.loads(data)
        fields = {name: written[name] for name in cls.__slots__ if name in written}
        return cls(
            **{
                **fields,
                "args": tuple(fields.get("args", ())),
                "timeouts": Timeouts(*fields.get("timeouts", ())[:3]),
                "limits": tuple((which, value) for which, value in fields.get("limits", ())),
                "terminal": Size(*fields["terminal"][:2]) if fields.get("terminal") else None,
            }
        )

    def differences(self, other: Command) -> list[str]:
        """Return in what another command is not the same request as this one, by the contract's words.

        The deadline of the call that asks is none of it: a repeated call has less time.
        """
        differences = [name for name in _ASKED if getattr(self, name) != getattr(other, name)]
        if (self.cwd or "") != (other.cwd or ""):
            differences.append("cwd")
        if self.terminal is None and other.terminal is None and self.stdin != other.stdin:
            differences.append("stdin")
        if self.terminal != other.terminal or self.term != other.term:
            differences.append("pty")
        if (self.nice, self.oom_score_adj, self.limits) != (other.nice, other.oom_score_adj, other.limits):
            differences.append("limits")
        return differences


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _listed(texts: Iterable[str]) -> Iterator[bytes]:
    comma = ""
    for text in texts:
        yield (comma + text).encode()
        comma = ", "


def check_key(key: str) -> None:
    """Refuse what is no idempotency key.

    Raises:
        EnvdError: INVALID_ARGUMENT.
    """
    if not 1 <= len(key.encode()) <= _KEY_BYTES:
        raise _invalid(f"idempotency_key must have 1 to {_KEY_BYTES} bytes")


def _invalid(message: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, message)
