"""Opens paths of clients with the rights of their users, never through a link that leads astray.

Everything that a client's path names is opened here, and everything that a call does as a user happens within
`acting_as`; see docs/decisions/0017-the-kernel-checks-users.md.
"""

from .credentials import acting_as, acts_as_itself, as_user
from .helping import act, help_instead, was_denied
from .mounts import mount_of
from .opening import (
    check_landing,
    is_mount_point,
    open_and_look,
    open_below,
    open_cached,
    open_parent,
    open_path,
    path_of,
    reopen,
    root_is_local,
)
from .own_processes import refuse_own
from .resolving import Landing, resolve_by_steps
from .system_calls import born_ns
from .trusted import is_readable, open_trusted_parent
from .working_directory import naming_in

__all__ = [
    "Landing",
    "act",
    "acting_as",
    "acts_as_itself",
    "as_user",
    "born_ns",
    "check_landing",
    "help_instead",
    "is_mount_point",
    "is_readable",
    "mount_of",
    "naming_in",
    "open_and_look",
    "open_below",
    "open_cached",
    "open_parent",
    "open_path",
    "open_trusted_parent",
    "path_of",
    "refuse_own",
    "reopen",
    "resolve_by_steps",
    "root_is_local",
    "was_denied",
]
