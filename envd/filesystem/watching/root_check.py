"""Where a watched directory is, and whether its path still leads to it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from envd.filesystem.writing.own_writes import Key

from .events import EventKind

LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What the kernel says of a path by which nothing can be found, whoever looks."""


class AwayError(Exception):
    """The path of a watched directory does not lead to it now."""


@dataclass(frozen=True, slots=True)
class RootCheck:
    """What a path leads to.

    Attributes:
        key: of the directory itself.
        above: of the one it is in.
    """

    key: Key
    above: Key


@dataclass(frozen=True, slots=True)
class Departure:
    """How a watched directory has left its path.

    Attributes:
        kind: as its client is told.
        how: in words.
    """

    kind: EventKind
    how: str


RENAMED = Departure(EventKind.RENAME, "renamed")
REMOVED = Departure(EventKind.REMOVE, "removed")
UNMOUNTED = Departure(EventKind.REMOVE, "unmounted")
_REPLACED = Departure(EventKind.REMOVE, "replaced by another directory")
_MOVED = Departure(EventKind.RENAME, "moved, with a directory above it,")


def find_anchor(real: str) -> RootCheck | None:
    """Return what a path leads to; None if that is nothing. Blocks.

    Args:
        real: absolute, with all links resolved.

    Raises:
        OSError: nobody can tell.
    """
    try:
        here = os.stat(real, follow_symlinks=False)
        above = os.stat(os.path.dirname(real))
    except OSError as exc:
        if exc.errno in LEADS_NOWHERE:
            return None
        raise
    return RootCheck((here.st_dev, here.st_ino), (above.st_dev, above.st_ino))


def departure(anchor: RootCheck, real: str) -> Departure | None:
    """Return how a directory has left its path, which the kernel did not say: so it was not renamed. Blocks.

    None if it is there, after all.
    """
    try:
        above = os.stat(os.path.dirname(real))
        if (above.st_dev, above.st_ino) != anchor.above:
            return _MOVED
        here = os.stat(real, follow_symlinks=False)
    except FileNotFoundError as exc:
        return REMOVED if exc.filename == real else _MOVED
    except OSError:
        return _MOVED
    return None if (here.st_dev, here.st_ino) == anchor.key else _REPLACED
