"""The one walker behind every operation on a tree: down and up by descriptors, never through a link nobody asked for.

See docs/decisions/0018-one-walker.md.
"""

from .descent import READ, SEARCH, Descent, Inode, MovedError, inode_of
from .opening import is_within, open_down, open_entry
from .walk import OTHER, Item, Walk

__all__ = [
    "OTHER",
    "READ",
    "SEARCH",
    "Descent",
    "Inode",
    "Item",
    "MovedError",
    "Walk",
    "inode_of",
    "is_within",
    "open_down",
    "open_entry",
]
