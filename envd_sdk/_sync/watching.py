# Made by scripts/unasync from envd_sdk/_async/watching.py; change that one.
"""Delivers changes in a directory: as a stream, or collected by the daemon until they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk._concurrency.background import Background
from envd_sdk._concurrency.callbacks import Handler, hand_over
from envd_sdk._sync.calls import Calls
from envd_sdk._wire.blocking import Incoming, clock
from envd_sdk._wire.failure import WireError, WireTimeoutError
from envd_sdk._wire.methods import CREATE_WATCHER, GET_WATCHER_EVENTS, REMOVE_WATCHER, WATCH_DIR
from envd_sdk.entries import FilesystemEvent
from envd_sdk.exceptions import NotFoundException, SandboxException, TimeoutException
from envd_sdk.watches import LOST, Cursor, Watch


class WatchStream:
    """Changes in a directory, one after the other, each once. Iterate over it; leaving early or `close` ends it.

    A connection that breaks is taken up again after the last event. An event of type OVERFLOW says that some
    were lost that no others make up for.
    """

    def __init__(self, calls: Calls, watch: Watch, user: str | None) -> None:
        self._calls = calls
        self._watch = watch
        self._user = user
        self._cursor = Cursor()
        self._attempts = calls.attempts()
        self._incoming: Incoming[fs.WatchDirResponse] | None = None
        self._closed = False
        self._deadline: float | None = None

    def end_at(self, timeout_s: float | None) -> None:
        """Let `next` raise TimeoutException when that time from now is over."""
        self._deadline = None if timeout_s is None else clock() + timeout_s

    def open(self, timeout_s: float | None) -> Self:
        """Begin to watch: what changes from now on will be seen.

        Raises:
            FileNotFoundException: there is no such directory.
        """
        while self._incoming is None:
            self._try_to_open(timeout_s)
        self._attempts.succeeded()
        return self

    def next(self) -> list[FilesystemEvent] | None:
        """The next events; None if it was closed.

        Raises:
            FileNotFoundException: the directory is gone.
        """
        while not self._closed:
            left_s = None if self._deadline is None else max(self._deadline - clock(), 0.001)
            if self._incoming is None:
                self._try_to_open(left_s)
                continue
            try:
                message = self._incoming.read(left_s)
                if message is None:
                    raise WireError("unavailable", "the stream was cut off")
            except WireTimeoutError:
                raise TimeoutException(f"watch {self._watch.path}: the time for it is up") from None
            except WireError as error:
                self._broken(error)
                continue
            self._attempts.succeeded()
            events = self._cursor.events(message)
            if events:
                return events
        return None

    def close(self) -> None:
        self._closed = True
        if self._incoming is not None:
            self._incoming.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FilesystemEvent]:
        try:
            while (events := self.next()) is not None:
                for event in events:
                    yield event
        finally:
            self.close()

    def _try_to_open(self, timeout_s: float | None) -> None:
        request = self._watch.stream(self._cursor.value)
        try:
            incoming = self._calls.wire.stream(WATCH_DIR, request, self._calls.followed(self._user))
            message = incoming.read(timeout_s)
            if message is None:
                raise WireError("unavailable", "the stream was cut off")
        except WireError as error:
            return self._broken(error)
        self._cursor.events(message)
        self._incoming = incoming
        return None

    def _broken(self, error: WireError) -> None:
        self._incoming = None
        if not self._closed:
            self._calls.pause(self._attempts, error, doing=f"watch {self._watch.path}", about_files=True)


class Watcher(Protocol):
    """A source of events, from which a handle takes them."""

    def take(self, request_timeout: float | None) -> list[FilesystemEvent]: ...
    def stop(self) -> None: ...


class WatchHandle:
    """The handle of a watched directory, which is watched until `stop`."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def get_new_events(self, request_timeout: float | None = None) -> list[FilesystemEvent]:
        """What has changed since the last time, or since the watch began. Asked at least once an hour.

        Raises:
            FileNotFoundException: the directory is gone.
            SandboxException: the events go to a callback.
        """
        return self._watcher.take(request_timeout)

    def stop(self) -> None:
        """Watch no more."""
        self._watcher.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class CalledBack:
    """Calls a callback with each event, and another one with the reason why there will be no more."""

    def __init__(
        self,
        stream: WatchStream,
        on_event: Handler[FilesystemEvent],
        on_exit: Handler[Exception] | None,
    ) -> None:
        self._stream = stream
        self._on_event = on_event
        self._on_exit = on_exit
        self._background = Background(self._run)

    def take(self, request_timeout: float | None) -> list[FilesystemEvent]:
        raise SandboxException("look for changes: they go to on_event; watch without it to ask for them")

    def stop(self) -> None:
        self._stream.close()
        self._background.stop()

    def _run(self) -> None:
        try:
            for event in self._stream:
                hand_over(self._on_event, event)
        except Exception as error:
            hand_over(self._on_exit, error)


class Collected:
    """Events the daemon collects; each is sent until it has arrived here."""

    def __init__(self, calls: Calls, watch: Watch, user: str | None) -> None:
        self._calls = calls
        self._watch = watch
        self._user = user
        self._watcher_id = ""
        self._cursor = Cursor()

    def open(self, request_timeout: float | None) -> Self:
        response = self._calls.unary(
            CREATE_WATCHER,
            self._watch.watcher(),
            doing=f"watch {self._watch.path}",
            user=self._user,
            request_timeout=request_timeout,
            about_files=True,
        )
        self._watcher_id, self._cursor = response.watcher_id, Cursor()
        return self

    def take(self, request_timeout: float | None) -> list[FilesystemEvent]:
        request = fs.GetWatcherEventsRequest(watcher_id=self._watcher_id, cursor=self._cursor.value)
        try:
            response = self._calls.unary(
                GET_WATCHER_EVENTS,
                request,
                doing=f"look for changes in {self._watch.path}",
                user=self._user,
                request_timeout=request_timeout,
                about_files=True,
            )
        except NotFoundException:
            # The watcher is gone, for nobody asked for long. If the directory is not, another one takes its place.
            self.open(request_timeout)
            return [LOST]
        return self._cursor.batch(response)

    def stop(self) -> None:
        request = fs.RemoveWatcherRequest(watcher_id=self._watcher_id)
        try:
            self._calls.unary(REMOVE_WATCHER, request, doing="end a watch", user=self._user)
        except NotFoundException:
            return
