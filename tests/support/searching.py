"""Find, Grep, Replace and ReadLines as typed calls over any wire."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envd_proto.filesystem.filesystem_pb2 import EntryInfo, FindResponse
from envd_proto.filesystem.search_pb2 import (
    FindRequest,
    FindSummary,
    GrepFile,
    GrepLine,
    GrepRequest,
    GrepResponse,
    GrepSummary,
    Pattern,
    ReadLinesRequest,
    ReadLinesResponse,
    ReplaceRequest,
    ReplaceResponse,
    Selection,
    Skipped,
)
from tests.support.kernel import children
from tests.support.wires import Incoming, Wire

SERVICE = "filesystem.Filesystem"

_SELECTION = set(Selection.DESCRIPTOR.fields_by_name)
_PATTERN = {"fixed", "case", "word", "multiline"}


@dataclass(slots=True)
class Found:
    """What a Find said."""

    entries: list[EntryInfo] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    summary: FindSummary | None = None

    def names(self, below: Path) -> list[str]:
        """Paths as they came, relative to a directory."""
        return [os.path.relpath(entry.path, below) for entry in self.entries]


@dataclass(slots=True)
class Grepped:
    """What a Grep said; parts of one file put together."""

    files: dict[str, list[GrepLine]] = field(default_factory=dict)
    matches: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, Skipped] = field(default_factory=dict)
    summary: GrepSummary = field(default_factory=GrepSummary)
    messages: list[GrepResponse] = field(default_factory=list)

    def add(self, message: GrepResponse) -> None:
        self.messages.append(message)
        for file in message.files:
            self.add_file(file)
        for one in message.skipped:
            self.skipped[one.path] = one
        self.summary = message.summary

    def add_file(self, file: GrepFile) -> None:
        self.files.setdefault(file.path, []).extend(file.lines)
        self.matches[file.path] = self.matches.get(file.path, 0) + file.matches

    @property
    def lines(self) -> list[GrepLine]:
        return [line for lines in self.files.values() for line in lines]

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


class Search:
    """Calls that search; options are fields of the requests, of their selection, or of their pattern."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def finding(self, path: object, **options: Any) -> AbstractAsyncContextManager[Incoming[FindResponse]]:
        """The stream of a Find."""
        selection, rest = _split(path, options)
        return self.wire.server_stream(f"{SERVICE}/Find", FindRequest(selection=selection, **rest), FindResponse)

    async def find(self, path: object, **options: Any) -> Found:
        found = Found()
        async with self.finding(path, **options) as messages:
            async for message in messages:
                assert found.summary is None
                found.entries += message.entries
                found.skipped += message.skipped
                if message.HasField("summary"):
                    found.summary = message.summary
        assert found.summary is not None
        return found

    def grepping(self, path: object, text: str, **options: Any) -> AbstractAsyncContextManager[Incoming[GrepResponse]]:
        """The stream of a Grep."""
        selection, rest = _split(path, options)
        pattern, rest = _pattern(text, rest)
        request = GrepRequest(selection=selection, pattern=pattern, **rest)
        return self.wire.server_stream(f"{SERVICE}/Grep", request, GrepResponse)

    async def grep(self, path: object, text: str, **options: Any) -> Grepped:
        found = Grepped()
        async with self.grepping(path, text, **options) as messages:
            async for message in messages:
                found.add(message)
        assert found.messages[-1].HasField("summary")
        assert not any(message.HasField("summary") for message in found.messages[:-1])
        return found

    async def replace(self, path: object, text: str, replacement: str, **options: Any) -> ReplaceResponse:
        selection, rest = _split(path, options)
        pattern, rest = _pattern(text, rest)
        request = ReplaceRequest(selection=selection, pattern=pattern, replacement=replacement, **rest)
        return await self.wire.unary(f"{SERVICE}/Replace", request, ReplaceResponse)

    async def read_lines(self, path: object, first: int = 0, last: int = 0, **options: Any) -> ReadLinesResponse:
        request = ReadLinesRequest(path=str(path), first=first, last=last, **options)
        return await self.wire.unary(f"{SERVICE}/ReadLines", request, ReadLinesResponse)


def _split(path: object, options: dict[str, Any]) -> tuple[Selection, dict[str, Any]]:
    selection = {name: value for name, value in options.items() if name in _SELECTION}
    return Selection(path=str(path), **selection), {name: options[name] for name in options.keys() - selection.keys()}


def _pattern(text: str, options: dict[str, Any]) -> tuple[Pattern, dict[str, Any]]:
    pattern = {name: value for name, value in options.items() if name in _PATTERN}
    return Pattern(text=text, **pattern), {name: options[name] for name in options.keys() - pattern.keys()}


def workers(server: int) -> list[int]:
    """The processes of a server that search."""
    found = []
    for child in children(server):
        try:
            name = Path(f"/proc/{child}/comm").read_text()
        except OSError:
            continue
        if name == "envd-search\n":
            found.append(child)
    return found
