"""Requests that watch a directory, and the events in the answers. No network in here."""

from __future__ import annotations

from dataclasses import dataclass

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk.entries import FilesystemEvent, FilesystemEventType
from envd_sdk.messages import event_from
from envd_sdk.paths import SandboxPath, path_fields, shown

# Told where events were lost: the directory has to be looked at again.
LOST = FilesystemEvent(".", FilesystemEventType.OVERFLOW)


@dataclass(frozen=True)
class Watch:
    """A directory to watch.

    Attributes:
        recursive: with everything below it.
        include_entry: events have the entry, where there is one.
        allow_network_mounts: a network file system, too, where changes made elsewhere may be seen late or not at all.
    """

    where: SandboxPath
    recursive: bool = False
    include_entry: bool = False
    allow_network_mounts: bool = False

    @property
    def path(self) -> str:
        """The directory, for messages."""
        return shown(self.where)

    def stream(self, cursor: str) -> fs.WatchDirRequest:
        """From a cursor on; "" is from now on."""
        return fs.WatchDirRequest(
            **path_fields(self.where),
            recursive=self.recursive,
            include_entry=self.include_entry,
            allow_network_mounts=self.allow_network_mounts,
            cursor=cursor,
        )

    def watcher(self) -> fs.CreateWatcherRequest:
        return fs.CreateWatcherRequest(
            **path_fields(self.where),
            recursive=self.recursive,
            include_entry=self.include_entry,
            allow_network_mounts=self.allow_network_mounts,
        )


class Cursor:
    """The position in the events of one watch."""

    def __init__(self) -> None:
        self.value = ""

    def events(self, message: fs.WatchDirResponse) -> list[FilesystemEvent]:
        """What a message of a stream says."""
        kind = message.WhichOneof("event")
        if kind == "start":
            self.value = message.start.cursor or self.value
        elif kind == "overflow":
            self.value = message.overflow.cursor or self.value
            # Else what follows makes up for what was lost.
            return [LOST] if message.overflow.reset else []
        elif kind == "filesystem":
            self.value = message.filesystem.cursor or self.value
            event = event_from(message.filesystem)
            return [] if event is None else [event]
        return []

    def batch(self, message: fs.GetWatcherEventsResponse) -> list[FilesystemEvent]:
        """What a watcher has collected."""
        lost = [LOST] if message.reset else []
        if message.events:
            self.value = message.events[-1].cursor or self.value
        events = (event_from(event) for event in message.events)
        return [*lost, *(event for event in events if event is not None)]
