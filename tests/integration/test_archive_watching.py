"""What those who watch a directory hear of an archive that is extracted into it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.archives import Archives, entry, tar
from tests.support.watching import DEADLINE_S, Watching, said
from tests.support.wires import Wire


async def test_extracted_files_are_told_like_uploads_and_nothing_else(wire: Wire, tmp_path: Path):
    (tmp_path / "both").mkdir()
    (tmp_path / "both/old").write_bytes(b"old")
    archive = tar(entry("both/old", b"new"), entry("new", b"new"), entry("d/new", b"new"))
    found: list[str] = []
    async with Watching(wire).stream(tmp_path, recursive=True) as stream:
        await Archives(wire).extract(tmp_path, archive)
        async with asyncio.timeout(DEADLINE_S):
            while "create d/new" not in found:  # a directory is looked through when it has come
                found += [said(event) for event in await stream.events()]
    told: dict[str, list[str]] = {}
    for kind, _, name in (event.partition(" ") for event in found):
        told.setdefault(name, []).append(kind)
    assert told == {
        "both/old": ["write"],
        "new": ["create", "chmod", "write"],
        "d": ["create"],
        "d/new": ["create"],  # as of any directory that is moved here
    }
