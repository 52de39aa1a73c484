"""The identity of a file or directory: it differs from a later one's with its name, or even its number."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .access import born_ns


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The numbers of a file, directory or link.

    Attributes:
        born_ns: when it was made; 0 if not known.
    """

    device: int
    inode: int
    born_ns: int = 0

    def is_of(self, fd: int) -> bool:
        """Tell whether it is what is open. Blocks."""
        st = os.fstat(fd)
        if (st.st_dev, st.st_ino) != (self.device, self.inode):
            return False
        return not self.born_ns or born_ns(fd) in (0, self.born_ns)


def identity_of(fd: int) -> FileIdentity:
    """Return that of what is open. Blocks."""
    st = os.fstat(fd)
    return FileIdentity(st.st_dev, st.st_ino, born_ns(fd))
