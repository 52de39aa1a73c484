"""Directories of this machine as tar streams. Blocking; no network in here."""

from __future__ import annotations

import fnmatch
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envd_sdk.exceptions import InvalidArgumentException, SandboxException

# Bytes read from a file at a time.
_PIECE = 256 * 1024


@dataclass(frozen=True)
class TreeInfo:
    """The summary of a directory that was sent or received.

    Attributes:
        path: the directory.
        entries: files, directories and links.
        content_bytes: bytes of the files.
        left_out: entries that are not there although nothing excluded them: what cannot be read, and what is neither
            file, directory nor link. The first 1000.
    """

    path: str
    entries: int
    content_bytes: int
    left_out: tuple[str, ...] = ()


def tar_of(directory: str, exclude: Sequence[str] = ()) -> Iterator[bytes]:
    """The content of a directory as a tar archive, in pieces, with names that begin there.

    Args:
        exclude: globs, compared with names at any depth or, with a slash, with paths from there on.

    Raises:
        InvalidArgumentException: it is no directory.
        SandboxException: a file changed while it was read.
        OSError: something cannot be read.
    """
    if not os.path.isdir(directory):
        raise InvalidArgumentException(f"send {directory}: it is no directory of this machine")
    # Never written to: it knows how to describe a file, and which are the same one.
    with tarfile.TarFile(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, name in _below(directory, "", exclude):
            yield from _member(archive, path, name)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _below(directory: str, prefix: str, exclude: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each entry with its name in the archive, a directory before what it contains."""
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if any(fnmatch.fnmatch(name if "/" in glob else entry.name, glob) for glob in exclude):
            continue
        yield entry.path, name
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, f"{name}/", exclude)


def _member(archive: tarfile.TarFile, path: str, name: str) -> Iterator[bytes]:
    info = archive.gettarinfo(path, name)
    if info is None:
        # A socket, which no archive can hold.
        return
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if info.isreg():
        yield from _content(path, info.size)


def _content(path: str, size: int) -> Iterator[bytes]:
    remaining = size
    with open(path, "rb") as file:
        while remaining:
            piece = file.read(min(remaining, _PIECE))
            if not piece:
                raise SandboxException(f"send {path}: it became shorter while it was read")
            remaining -= len(piece)
            yield piece
    if size % tarfile.BLOCKSIZE:
        yield bytes(tarfile.BLOCKSIZE - size % tarfile.BLOCKSIZE)
