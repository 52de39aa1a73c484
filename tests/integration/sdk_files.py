"""What sdk_script.py does with files."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from e2b import AsyncSandbox, EntryInfo, Sandbox, WriteInfo

ROOT = sys.argv[2] if len(sys.argv) > 2 else ""
CONTENT = os.urandom(5_000_000)
TEXT = "first line\nzweite Zeile: äöü €\n"


def told(info: WriteInfo | EntryInfo) -> dict[str, Any]:
    found = {"name": info.name, "path": info.path, "type": info.type.value if info.type else None}
    return {**found, "metadata": getattr(info, "metadata", None)}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chunks() -> Iterator[bytes]:
    for at in range(0, len(CONTENT), 100_000):
        yield CONTENT[at : at + 100_000]


async def achunks() -> AsyncIterator[bytes]:
    for chunk in chunks():
        yield chunk


class SyncFiles:
    """Every scenario with the blocking classes."""

    def __init__(self) -> None:
        self.sandbox = Sandbox.create()
        self.files = self.sandbox.files
        self.root = f"{ROOT}/sync"

    def text(self) -> Any:
        info = self.files.write(f"{self.root}/sub/text.txt", TEXT)
        return [told(info), self.files.read(info.path) == TEXT, self.files.read(info.path, gzip=True) == TEXT]

    def bytes(self) -> Any:
        path = f"{self.root}/bytes"
        found = []
        for options in ({}, {"use_octet_stream": True}, {"gzip": True}):
            self.files.write(path, CONTENT, **options)
            found.append(digest(self.files.read(path, format="bytes")) == digest(CONTENT))
        return found

    def stream(self) -> Any:
        path = f"{self.root}/stream"
        found = []
        for data in (io.BytesIO(CONTENT), chunks()):
            self.files.write(path, data)
            with self.files.read(path, format="stream") as stream:
                found.append(digest(b"".join(stream)) == digest(CONTENT))
        return found

    def many(self) -> Any:
        entries = [{"path": f"{self.root}/many/{n % 7}/{n}", "data": f"content {n}"} for n in range(200)]
        infos = self.files.write_files(entries)
        return [len(infos), all(self.files.read(info.path) == f"content {info.name}" for info in infos)]

    def missing(self) -> Any:
        return self.files.read(f"{self.root}/missing")

    def directory(self) -> Any:
        self.files.make_dir(f"{self.root}/directory")
        return self.files.read(f"{self.root}/directory")

    def listing(self) -> Any:
        for name in ("a", "d/b", "d/e/c"):
            self.files.write(f"{self.root}/listing/{name}", name)
        return [
            sorted(
                told(entry)["path"].removeprefix(self.root) for entry in self.files.list(f"{self.root}/listing", depth)
            )
            for depth in (1, 2, 3)
        ]

    def exists(self) -> Any:
        self.files.write(f"{self.root}/exists", "")
        return [self.files.exists(f"{self.root}/exists"), self.files.exists(f"{self.root}/exists-not")]

    def rename(self) -> Any:
        self.files.write(f"{self.root}/before", "x")
        info = self.files.rename(f"{self.root}/before", f"{self.root}/new/after")
        return [told(info)["path"].removeprefix(self.root), self.files.exists(f"{self.root}/before")]

    def remove(self) -> Any:
        self.files.write(f"{self.root}/remove/x", "x")
        self.files.remove(f"{self.root}/remove")
        return self.files.exists(f"{self.root}/remove")

    def make_dir(self) -> Any:
        return [self.files.make_dir(f"{self.root}/made"), self.files.make_dir(f"{self.root}/made")]

    def info(self) -> Any:
        written = self.files.write(f"{self.root}/info", "12345", metadata={"Key": "a value"})
        info = self.files.get_info(f"{self.root}/info")
        return [written.metadata, info.metadata, info.size, info.permissions, info.type.value]

    def home(self) -> Any:
        return self.files.write("sdk-file-in-home", "x").path, self.files.remove("sdk-file-in-home")

    def bad_metadata(self) -> Any:
        return told(self.files.write(f"{self.root}/bad", "x", metadata={"k": "v" * 5000}))


class AsyncFiles:
    """Every scenario with the asynchronous classes."""

    sandbox: AsyncSandbox

    def __init__(self) -> None:
        self.root = f"{ROOT}/async"

    @property
    def _files(self) -> Any:
        return self.sandbox.files

    async def text(self) -> Any:
        info = await self._files.write(f"{self.root}/sub/text.txt", TEXT)
        again = [await self._files.read(info.path), await self._files.read(info.path, gzip=True)]
        return [told(info), *(text == TEXT for text in again)]

    async def bytes(self) -> Any:
        path = f"{self.root}/bytes"
        found = []
        for options in ({}, {"use_octet_stream": True}, {"gzip": True}):
            await self._files.write(path, CONTENT, **options)
            found.append(digest(await self._files.read(path, format="bytes")) == digest(CONTENT))
        return found

    async def stream(self) -> Any:
        path = f"{self.root}/stream"
        found = []
        for data in (io.BytesIO(CONTENT), achunks()):
            await self._files.write(path, data)
            stream = await self._files.read(path, format="stream")
            found.append(digest(b"".join([chunk async for chunk in stream])) == digest(CONTENT))
        return found

    async def many(self) -> Any:
        entries = [{"path": f"{self.root}/many/{n % 7}/{n}", "data": f"content {n}"} for n in range(200)]
        infos = await self._files.write_files(entries)
        return [len(infos), all([await self._files.read(info.path) == f"content {info.name}" for info in infos])]

    async def missing(self) -> Any:
        return await self._files.read(f"{self.root}/missing")

    async def directory(self) -> Any:
        await self._files.make_dir(f"{self.root}/directory")
        return await self._files.read(f"{self.root}/directory")

    async def listing(self) -> Any:
        for name in ("a", "d/b", "d/e/c"):
            await self._files.write(f"{self.root}/listing/{name}", name)
        found = [await self._files.list(f"{self.root}/listing", depth) for depth in (1, 2, 3)]
        return [sorted(told(entry)["path"].removeprefix(self.root) for entry in entries) for entries in found]

    async def exists(self) -> Any:
        await self._files.write(f"{self.root}/exists", "")
        return [await self._files.exists(f"{self.root}/exists{more}") for more in ("", "-not")]

    async def rename(self) -> Any:
        await self._files.write(f"{self.root}/before", "x")
        info = await self._files.rename(f"{self.root}/before", f"{self.root}/new/after")
        return [told(info)["path"].removeprefix(self.root), await self._files.exists(f"{self.root}/before")]

    async def remove(self) -> Any:
        await self._files.write(f"{self.root}/remove/x", "x")
        await self._files.remove(f"{self.root}/remove")
        return await self._files.exists(f"{self.root}/remove")

    async def make_dir(self) -> Any:
        return [await self._files.make_dir(f"{self.root}/made") for _ in range(2)]

    async def info(self) -> Any:
        written = await self._files.write(f"{self.root}/info", "12345", metadata={"Key": "a value"})
        info = await self._files.get_info(f"{self.root}/info")
        return [written.metadata, info.metadata, info.size, info.permissions, info.type.value]

    async def home(self) -> Any:
        info = await self._files.write("sdk-file-in-home", "x")
        return info.path, await self._files.remove("sdk-file-in-home")

    async def bad_metadata(self) -> Any:
        return told(await self._files.write(f"{self.root}/bad", "x", metadata={"k": "v" * 5000}))
