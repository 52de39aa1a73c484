"""The part of the Filesystem service that searches."""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from google.protobuf.message import Message

from envd.errors import EnvdError
from envd.filesystem.access import as_user
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.search import frames
from envd.filesystem.search.lines import read_lines
from envd.filesystem.search.pool import Workers
from envd.filesystem.search.replace_apply import Outcome, apply, check_condition, check_plans
from envd.filesystem.search.replace_plan import ReplacePlan, ReplacePlans
from envd.filesystem.search.requests import AnyOrder, ReplaceRequest
from envd.filesystem.threads import Threads
from envd.filesystem.writing.temporary import Temporaries
from envd.rpc import Call, Reply
from envd.services.filesystem.messages import caller_from, path_of
from envd_proto.filesystem import filesystem_pb2 as pb
from envd_proto.filesystem import search_pb2 as search

from . import messages


class SearchService:
    """Serves Find, Grep, Replace and ReadLines of filesystem.Filesystem.

    Args:
        callers: find who makes a call.
    """

    def __init__(self, callers: Callers, threads: Threads, temporaries: Temporaries, workers: Workers) -> None:
        self._callers = callers
        self._threads = threads
        self._temporaries = temporaries
        self._workers = workers

    async def find(self, request: search.FindRequest, call: Call) -> AsyncIterator[Reply]:
        """Find entries."""
        caller, entry_format = caller_from(call, self._callers)
        order = messages.find_order(request, await self._path(request.selection, caller), caller, entry_format)
        async with aclosing(self._replies(order, pb.FindResponse, in_json=order.in_json)) as replies:
            async for reply in replies:
                yield reply

    async def grep(self, request: search.GrepRequest, call: Call) -> AsyncIterator[Reply]:
        """Find text."""
        caller, entry_format = caller_from(call, self._callers)
        order = messages.grep_order(request, await self._path(request.selection, caller), caller, entry_format)
        async with aclosing(self._replies(order, search.GrepResponse, in_json=order.in_json)) as replies:
            async for reply in replies:
                yield reply

    async def _path(self, message: search.Selection | search.ReadLinesRequest, caller: Caller) -> str:
        return await path_of(message, caller, self._threads)

    async def _replies(self, order: AnyOrder, kind: type[Message], *, in_json: bool) -> AsyncGenerator[Reply, None]:
        async with self._workers.answering(order) as answer:
            while (frame := await answer.next()) is not None:
                yield messages.encoded(frame[1], kind, in_json=in_json)

    async def replace(self, request: search.ReplaceRequest, call: Call) -> search.ReplaceResponse:
        """Replace text."""
        caller, _ = caller_from(call, self._callers)
        order = messages.replace_order(request, await self._path(request.selection, caller), caller)
        expected = request.expected_matches if request.HasField("expected_matches") else None
        if_match = request.if_match if request.HasField("if_match") else None
        if if_match is not None:
            check = as_user(caller.user, partial(check_condition, order.selection.path, if_match))
            await self._threads.at(order.selection.path).run(check)
        plans = await self._plans(order)
        check_plans(plans, order, expected, if_match)
        if request.dry_run:
            outcomes = [Outcome(plan, plan.etag) for plan in plans.files]
        else:
            outcomes = [await self._applied(plan, order, sync=request.sync) for plan in plans.files]
        return await self._threads.run(messages.replace_response, plans, outcomes, dry_run=request.dry_run)

    async def _plans(self, order: ReplaceRequest) -> ReplacePlans:
        plans = ReplacePlans()
        async with self._workers.answering(order) as answer:
            while (frame := await answer.next()) is not None:
                plans.add(frames.unpacked(frame[1]))
        return plans

    async def _applied(self, plan: ReplacePlan, order: ReplaceRequest, *, sync: bool) -> Outcome:
        """Change a file; one that is not what the call was about may fail without ending it."""
        try:
            change = partial(apply, plan, order, self._temporaries, sync=sync)
            return await self._threads.at(plan.path).settle(change)
        except EnvdError as exc:
            if plan.path == order.selection.path:
                raise
            return Outcome(plan, plan.etag, error=exc.message)

    async def read_lines(self, request: search.ReadLinesRequest, call: Call) -> search.ReadLinesResponse:
        """Read lines of a file."""
        caller, _ = caller_from(call, self._callers)
        path = await self._path(request, caller)
        lines = messages.range_from(request)
        if_match = request.if_match if request.HasField("if_match") else None
        cancelled = threading.Event()

        def work() -> search.ReadLinesResponse:
            return messages.lines_response(read_lines(path, lines, if_match, cancelled.is_set))

        try:
            return await self._threads.at(path).run(as_user(caller.user, work))
        except CancelledError:
            cancelled.set()
            raise
