"""Requests to a worker. Everything here is sent to it as it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from envd.host.users import User


class SortBy(enum.IntEnum):
    """The order in which files and directories are visited; numbers as in the contract."""

    PATH = 0
    NONE = 1
    MODIFIED = 2
    SIZE = 3


class Type(enum.IntEnum):
    """The type of an entry; numbers as in the contract."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    OTHER = 4


class Case(enum.IntEnum):
    """The treatment of upper and lower case; numbers as in the contract."""

    SENSITIVE = 0
    INSENSITIVE = 1
    SMART = 2


class GrepOutput(enum.IntEnum):
    """The output of a Grep; numbers as in the contract."""

    LINES = 0
    FILES = 1
    COUNTS = 2


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of entries below a path; fields as in the contract's message of this name, times in nanoseconds.

    Attributes:
        path: absolute.
        user: as whom the kernel checks what is read.
        types: none: all.
    """

    path: str
    user: User
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = False
    skip_hidden: bool = False
    max_depth: int = 0
    follow_links: bool = False
    one_file_system: bool = False
    types: frozenset[Type] = frozenset()
    min_size: int | None = None
    max_size: int | None = None
    since_ns: int | None = None
    before_ns: int | None = None
    order: SortBy = SortBy.PATH

    @property
    def judges_state(self) -> bool:
        """True if an entry's size or time decides."""
        bounds = (self.min_size, self.max_size, self.since_ns, self.before_ns)
        return any(bound is not None for bound in bounds)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text pattern; fields as in the contract's message of this name."""

    text: str
    fixed: bool = False
    case: Case = Case.SENSITIVE
    word: bool = False
    multiline: bool = False


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A Find.

    Attributes:
        limit: entries at most; 0: no limit.
        brief: entries as old clients know them.
        in_json: encode the answer in JSON.
    """

    selection: Selection
    limit: int
    with_metadata: bool
    brief: bool
    in_json: bool


@dataclass(frozen=True, slots=True)
class GrepRequest:
    """A Grep; all bounds are set and positive, but max_per_file: 0 is no bound."""

    selection: Selection
    pattern: Pattern
    output: GrepOutput
    before: int
    after: int
    max_per_file: int
    max_matches: int
    max_bytes: int
    max_line_bytes: int
    binary: bool
    in_json: bool


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """The search of a Replace.

    Attributes:
        diff_bytes: of all diffs together at most; 0: no diffs.
    """

    selection: Selection
    pattern: Pattern
    replacement: str
    diff_bytes: int


AnyOrder = FindRequest | GrepRequest | ReplaceRequest
