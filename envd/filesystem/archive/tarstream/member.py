"""Entries of archives."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_ATTRIBUTES: Mapping[str, bytes] = MappingProxyType({})


class MemberKind(enum.Enum):
    """The type of an entry, by its letter in a ustar header."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    DIRECTORY = b"5"


class Extent(NamedTuple):
    """A range of a file that has data: first byte and number of bytes."""

    offset: int
    length: int


class Member(NamedTuple):
    """One entry. Names that are not UTF-8 have surrogates in their place.

    A tuple because archives have hundreds of thousands: a frozen dataclass costs three times as much.

    Attributes:
        name: relative, parts joined with `/`, without one at the end.
        mode: permission, set-id and sticky bits.
        owner: name of the user; empty if there is none.
        group: name of the group; empty if there is none.
        size: bytes of a file, holes included.
        link: a symbolic link's text, or the name of the entry a hard link is to.
        attributes: extended attributes of the namespace `user`, by full name.
        extents: where a sparse file has data, ascending; None: everywhere.
    """

    name: str
    kind: MemberKind
    mode: int
    uid: int
    gid: int
    owner: str
    group: str
    modified_ns: int
    size: int = 0
    link: str = ""
    attributes: Mapping[str, bytes] = NO_ATTRIBUTES
    extents: tuple[Extent, ...] | None = None
