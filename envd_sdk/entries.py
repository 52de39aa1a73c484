"""Files and directories as callers see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import IO

from envd_sdk.paths import SandboxPath


class FileType(Enum):
    """The type of an entry; a link has that of its target."""

    FILE = "file"
    DIR = "dir"
    # Not sent by this daemon; others may.
    SYMLINK = "symlink"


@dataclass
class WriteInfo:
    """A file that was written.

    Attributes:
        name: last part of the path.
        type: a file.
        path: where it is, resolved. U+FFFD stands for what is not UTF-8.
        metadata: the caller's own key-value pairs.
        raw_path: the bytes of the path if they are not UTF-8; else None.
    """

    name: str
    type: FileType | None
    path: str
    metadata: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    raw_path: bytes | None = field(default=None, kw_only=True)


@dataclass
class EntryInfo(WriteInfo):
    """A file, directory or link.

    Attributes:
        type: None for a fifo, socket or device, or a link that leads nowhere.
        size: bytes; of a link, the length of its text.
        mode: permission bits, at most 0o777.
        permissions: in words, "-rw-r--r--".
        owner: name of the owner, or a number.
        group: name of the group, or a number.
        modified_time: last change of the content, UTC.
        symlink_target: links only, where it leads to in the end.
        etag: differs whenever the content may; what `if_match` takes.
    """

    size: int = 0
    mode: int = 0
    permissions: str = ""
    owner: str = ""
    group: str = ""
    modified_time: datetime | None = None
    symlink_target: str | None = None
    etag: str = ""


# What can be written: text (as UTF-8), bytes, or an open file, in text or binary mode, from where it stands.
Content = str | bytes | bytearray | memoryview | IO[str] | IO[bytes]


@dataclass
class WriteEntry:
    """One of several files to write."""

    path: SandboxPath
    data: Content


class FilesystemEventType(Enum):
    """The kind of a change to an entry."""

    CHMOD = "chmod"
    CREATE = "create"
    REMOVE = "remove"
    RENAME = "rename"
    WRITE = "write"
    # Events were lost that no others make up for: forget what is known, and list the directory.
    OVERFLOW = "overflow"


@dataclass
class FilesystemEvent:
    """A change in a watched directory.

    Attributes:
        name: the entry, relative to the directory.
        type: what happened.
        entry: as it was when the event was sent, if the watch asked for it and it was still there.
        raw_name: the bytes of the name if they are not UTF-8; else None.
    """

    name: str
    type: FilesystemEventType
    entry: EntryInfo | None = None
    raw_name: bytes | None = None
