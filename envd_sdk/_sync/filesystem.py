# Made by scripts/unasync from envd_sdk/_async/filesystem.py; change that one.
"""Files of a sandbox."""

from __future__ import annotations

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk._concurrency.callbacks import Handler
from envd_sdk._sync.searching import Searches
from envd_sdk._sync.transfers import Transfers
from envd_sdk._sync.trees import Trees
from envd_sdk._sync.watching import CalledBack, Collected, WatchHandle, WatchStream
from envd_sdk._wire.blocking import clock, sleep
from envd_sdk._wire.methods import COPY, LIST_DIR, MAKE_DIR, MOVE, REMOVE, STAT
from envd_sdk.entries import EntryInfo, FilesystemEvent
from envd_sdk.exceptions import ConflictException, InvalidArgumentException, NotFoundException, NotYetException
from envd_sdk.messages import entry_from
from envd_sdk.output_matcher import FIRST_LOOK_S, LONGEST_LOOK_S, Deadline
from envd_sdk.paths import SandboxPath, path_fields, shown
from envd_sdk.results import Username
from envd_sdk.retrying import Repeat
from envd_sdk.start_spec import limit
from envd_sdk.watches import Watch


class Filesystem(Transfers, Trees, Searches):
    """Files of a sandbox.

    Paths are absolute, `~`, `~/x`, or relative to the user's home: text, bytes, or whatever has a `path`, as entries
    and files that were found. `user` is whose home that is and to whom what is
    made belongs; None is the sandbox's default user. `request_timeout` is in seconds: for an answer or, in a transfer,
    for as long as nothing moves; 0 means no limit, None the sandbox's own setting.

    Transfers go on after a broken connection where they ended, and a file that is written takes its place when all of
    it has arrived: whatever fails before leaves the old one as it was.
    """

    def list(
        self,
        path: SandboxPath,
        depth: int | None = 1,
        user: Username | None = None,
        request_timeout: float | None = None,
    ) -> list[EntryInfo]:
        """What is in a directory, each directory before what it contains.

        Args:
            depth: levels below it, 1 or more.
        """
        if depth is not None and depth < 1:
            raise InvalidArgumentException(f"list {shown(path)}: depth is {depth}: give 1 or more")
        request = fs.ListDirRequest(**path_fields(path), depth=depth or 1)
        response = self._calls.unary(
            LIST_DIR,
            request,
            doing=f"list {request.path}",
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return [entry_from(entry) for entry in response.entries]

    def exists(self, path: SandboxPath, user: Username | None = None, request_timeout: float | None = None) -> bool:
        """Whether there is anything by that path; a link counts, wherever it leads."""
        try:
            self.get_info(path, user, request_timeout)
        except NotFoundException:
            return False
        return True

    def wait_for(
        self,
        path: SandboxPath,
        timeout: float | None = 60,
        user: Username | None = None,
        request_timeout: float | None = None,
    ) -> EntryInfo:
        """Wait until something is there by that path. Looks at it at least four times a second.

        Args:
            timeout: seconds to wait; 0 for no limit.

        Raises:
            NotYetException: it has not come in time.
        """
        deadline, pause_s = Deadline(limit(timeout), clock), FIRST_LOOK_S
        while True:
            try:
                return self.get_info(path, user, request_timeout)
            except NotFoundException:
                if deadline.passed():
                    raise NotYetException(f"wait for {shown(path)}: it is not there") from None
            sleep(min(pause_s, deadline.left_s() or pause_s))
            pause_s = min(pause_s * 2, LONGEST_LOOK_S)

    def get_info(
        self, path: SandboxPath, user: Username | None = None, request_timeout: float | None = None
    ) -> EntryInfo:
        """What is known of a file, directory or link.

        Raises:
            FileNotFoundException: it is not there.
        """
        request = fs.StatRequest(**path_fields(path))
        response = self._calls.unary(
            STAT, request, doing=f"look at {request.path}", user=user, request_timeout=request_timeout, about_files=True
        )
        return entry_from(response.entry)

    def remove(self, path: SandboxPath, user: Username | None = None, request_timeout: float | None = None) -> None:
        """Remove a file, a link, or a directory with everything in it. What is not there is fine."""
        request = fs.RemoveRequest(**path_fields(path))
        self._calls.unary(
            REMOVE,
            request,
            doing=f"remove {request.path}",
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )

    def rename(
        self,
        old_path: SandboxPath,
        new_path: SandboxPath,
        user: Username | None = None,
        request_timeout: float | None = None,
    ) -> EntryInfo:
        """Move a file or directory; an existing file is replaced, an existing directory is not."""
        old, new = path_fields(old_path, what="old_path"), path_fields(new_path, what="new_path")
        request = fs.MoveRequest(
            source=old["path"], raw_source=old["raw_path"], destination=new["path"], raw_destination=new["raw_path"]
        )
        response = self._calls.unary(
            MOVE,
            request,
            doing=f"move {request.source} to {request.destination}",
            repeat=Repeat.UNSENT,
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return entry_from(response.entry)

    def make_dir(self, path: SandboxPath, user: Username | None = None, request_timeout: float | None = None) -> bool:
        """Make a directory and those above it; False if it was there."""
        request = fs.MakeDirRequest(**path_fields(path))
        try:
            self._calls.unary(
                MAKE_DIR,
                request,
                doing=f"make {request.path}",
                user=user,
                request_timeout=request_timeout,
                about_files=True,
            )
        except ConflictException:
            return False
        return True

    def copy(
        self,
        source: SandboxPath,
        destination: SandboxPath,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        overwrite: bool = False,
    ) -> EntryInfo:
        """Copy a file, or a directory with everything in it, inside the sandbox.

        Raises:
            ConflictException: the destination is there, and it is not to be overwritten.
        """
        old, new = path_fields(source, what="source"), path_fields(destination, what="destination")
        request = fs.CopyRequest(
            source=old["path"],
            raw_source=old["raw_path"],
            destination=new["path"],
            raw_destination=new["raw_path"],
            recursive=True,
            overwrite=overwrite,
        )
        response = self._calls.unary(
            COPY,
            request,
            doing=f"copy {request.source} to {request.destination}",
            repeat=Repeat.SAFE if overwrite else Repeat.UNSENT,
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return entry_from(response.entry)

    def watch_dir(
        self,
        path: SandboxPath,
        user: Username | Handler[FilesystemEvent] | None = None,
        request_timeout: float | Handler[Exception] | None = None,
        recursive: bool = False,
        *,
        on_event: Handler[FilesystemEvent] | None = None,
        on_exit: Handler[Exception] | None = None,
        timeout: float | None = 60,
        include_entry: bool = False,
        allow_network_mounts: bool = False,
    ) -> WatchHandle:
        """Watch a directory. What changes after this has returned is seen.

        Args:
            user: as everywhere; a function in its place is taken for `on_event`, and one after it for `on_exit`.
            recursive: with everything below it.
            on_event: called with each change as it comes. Without it, `get_new_events` of the handle has them.
            on_exit: called with the reason if it ends by itself: the directory is gone, or the time is up.
            timeout: seconds to call `on_event` for; 0 for no limit.
            include_entry: events have the entry as it is when they are sent.
            allow_network_mounts: a network file system, too, where changes may be seen late or not at all.

        Raises:
            FileNotFoundException: there is no such directory.
        """
        if callable(request_timeout):
            on_exit, request_timeout = request_timeout, None
        if callable(user):
            on_event, user = user, None
        watch = Watch(path, recursive, include_entry, allow_network_mounts)
        if on_event is None:
            return WatchHandle(Collected(self._calls, watch, user).open(request_timeout))
        stream = WatchStream(self._calls, watch, user).open(self._calls.timeout(request_timeout))
        stream.end_at(limit(timeout))
        return WatchHandle(CalledBack(stream, on_event, on_exit))

    def watch(
        self,
        path: SandboxPath,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        recursive: bool = False,
        include_entry: bool = False,
        allow_network_mounts: bool = False,
        timeout: float | None = 0,
    ) -> WatchStream:
        """Watch a directory by iterating over its changes; see `watch_dir`.

        Args:
            timeout: seconds until iterating raises TimeoutException; 0 for no limit.
        """
        watch = Watch(path, recursive, include_entry, allow_network_mounts)
        stream = WatchStream(self._calls, watch, user).open(self._calls.timeout(request_timeout))
        stream.end_at(limit(timeout))
        return stream
