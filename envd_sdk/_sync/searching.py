# Made by scripts/unasync from envd_sdk/_async/searching.py; change that one.
"""Finding files, finding and replacing text in them, and reading lines: done inside the sandbox."""

from __future__ import annotations

from typing import TypeVar, Unpack

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_proto.filesystem import search_pb2 as pb
from envd_sdk._sync.calls import Calls
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.methods import FIND, GREP, READ_LINES, REPLACE, Method
from envd_sdk.entries import EntryInfo
from envd_sdk.messages import entry_from
from envd_sdk.paths import SandboxPath, path_fields, shown
from envd_sdk.results import Username
from envd_sdk.retrying import Repeat
from envd_sdk.searches import (
    GrepResult,
    Lines,
    Matched,
    ReplaceResult,
    Selected,
    grep_result,
    lines_from,
    pattern,
    replace_result,
    selection,
)

Request = TypeVar("Request", pb.FindRequest, pb.GrepRequest)
Response = TypeVar("Response", fs.FindResponse, pb.GrepResponse)


class Searches:
    """The methods of a sandbox's files that search them."""

    _calls: Calls

    def find(
        self,
        path: SandboxPath,
        *,
        limit: int = 0,
        with_metadata: bool = False,
        user: Username | None = None,
        request_timeout: float | None = None,
        **selected: Unpack[Selected],
    ) -> list[EntryInfo]:
        """Entries below a path, in the order of their names unless `order` says otherwise.

        Args:
            limit: at most so many; 0 for all.
            with_metadata: also read their metadata.
            selected: which entries; see Selected.
        """
        request = pb.FindRequest(selection=selection(path, selected), limit=limit, with_metadata=with_metadata)
        messages = self._all(FIND, request, f"find in {shown(path)}", user, request_timeout)
        return [entry_from(entry) for message in messages for entry in message.entries]

    def grep(
        self,
        text: str,
        path: SandboxPath,
        *,
        before: int = 0,
        after: int = 0,
        max_matches: int = 0,
        match: Matched | None = None,
        user: Username | None = None,
        request_timeout: float | None = None,
        **selected: Unpack[Selected],
    ) -> GrepResult:
        """Lines of the files below a path in which an expression of Python's `re` is found.

        Args:
            text: the expression.
            path: a directory, or one file.
            before: lines of context before each match.
            after: lines of context after it.
            max_matches: at most so many lines; 0 means 10 000.
            match: how it is compared; see Matched.
            selected: which files; see Selected.

        Raises:
            InvalidArgumentException: it is no expression.
        """
        request = pb.GrepRequest(
            selection=selection(path, selected),
            pattern=pattern(text, match or {}),
            before=before,
            after=after,
            max_matches=max_matches,
        )
        return grep_result(self._all(GREP, request, f"grep in {shown(path)}", user, request_timeout))

    def replace(
        self,
        path: SandboxPath,
        text: str,
        replacement: str,
        *,
        expected: int | None = None,
        dry_run: bool = False,
        diff: bool = False,
        if_match: str | None = None,
        match: Matched | None = None,
        user: Username | None = None,
        request_timeout: float | None = None,
        **selected: Unpack[Selected],
    ) -> ReplaceResult:
        """Replace text in a file, or in the files below a directory. Each is changed at once or not at all.

        Args:
            text: what to replace, as it is; with `match={"fixed": False}` an expression, and its groups can stand in
                `replacement`.
            expected: how many there must be altogether, else nothing is changed anywhere.
            dry_run: change nothing, and tell with diffs what would be changed.
            diff: have the change as a unified diff.
            if_match: only if the file has this etag.
            match: how it is compared; see Matched.
            selected: which files; see Selected.

        Raises:
            ConflictException: there are more or fewer than expected, or the file is another one.
        """
        request = pb.ReplaceRequest(
            selection=selection(path, selected),
            pattern=pattern(text, {"fixed": True, **(match or {})}),
            replacement=replacement,
            expected_matches=expected,
            dry_run=dry_run,
            diff=diff,
            if_match=if_match,
        )
        response = self._calls.unary(
            REPLACE,
            request,
            doing=f"replace in {shown(path)}",
            repeat=Repeat.SAFE if dry_run else Repeat.UNSENT,
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return replace_result(response)

    def read_lines(
        self,
        path: SandboxPath,
        first: int = 1,
        last: int = 0,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        max_bytes: int = 0,
        count: bool = False,
    ) -> Lines:
        """Some lines of a file.

        Args:
            first: number of the first one, from 1; from the end if negative.
            last: number of the last one, in the same way; 0 is to the end.
            max_bytes: at most so many; 0 means 256 KiB. `more` of the answer says whether that was too little.
            count: count the lines of the whole file.
        """
        request = pb.ReadLinesRequest(**path_fields(path), first=first, last=last, max_bytes=max_bytes, count=count)
        response = self._calls.unary(
            READ_LINES,
            request,
            doing=f"read {shown(path)}",
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return lines_from(response)

    def _all(
        self,
        method: Method[Request, Response],
        request: Request,
        doing: str,
        user: str | None,
        request_timeout: float | None,
    ) -> list[Response]:
        """Every message of a search; one that is cut off begins again."""
        timeout_s, attempts = self._calls.timeout(request_timeout), self._calls.attempts()
        while True:
            messages: list[Response] = []
            try:
                incoming = self._calls.wire.stream(method, request, self._calls.metadata(user))
                try:
                    while (message := incoming.read(timeout_s)) is not None:
                        messages.append(message)
                finally:
                    incoming.cancel()
                if messages and messages[-1].HasField("summary"):
                    return messages
                raise WireError("unavailable", "the stream was cut off")
            except WireError as error:
                self._calls.pause(attempts, error, doing=doing, about_files=True)
