"""Who may reach what: the rights of one thread, and paths of clients opened without being led astray.

Everything that a client's path names is opened here, and everything that a call does as a user happens within
`acting_as`; see docs/decisions/0017-the-kernel-checks-users.md.
"""

from .credentials import acting_as, acts_as_itself
from .opening import open_below, open_parent, open_path, reopen
from .own_processes import refuse_own
from .trusted import open_trusted_parent

__all__ = [
    "acting_as",
    "acts_as_itself",
    "open_below",
    "open_parent",
    "open_path",
    "open_trusted_parent",
    "refuse_own",
    "reopen",
]
