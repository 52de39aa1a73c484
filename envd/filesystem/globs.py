"""Globs, matched part by part on the way down, so that directories where nothing can match are not entered."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from envd.errors import Code, EnvdError

_EXPANSIONS = 1000
_BRACES = re.compile(r"\{[^{}]*\}")

Part = Callable[[str], object]
State = tuple[tuple[int, int], ...]
"""The state of matching: pairs of a glob and its next part."""


@dataclass(frozen=True, slots=True)
class _Glob:
    """A glob with a slash in it.

    Attributes:
        parts: matchers of names; None stands for any number of directories.
        directories: matches nothing else.
    """

    parts: tuple[Part | None, ...]
    directories: bool


class Globs:
    """A set of globs that are tried together.

    Raises:
        EnvdError: INVALID_ARGUMENT if braces stand for too many, or a glob is none.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        names: list[str] = []
        directories: list[str] = []
        self._paths: list[_Glob] = []
        for glob in _expanded(globs):
            text, only_directories = glob.rstrip("/"), glob.endswith("/")
            if "/" in text:
                self._paths.append(_Glob(_parts(text), only_directories))
            elif text not in ("", "**"):
                (directories if only_directories else names).append(text)
            else:
                (directories if only_directories else names).append("*")
        self._name = _any_of(names)
        self._directory = _any_of(directories)

    @property
    def start(self) -> State:
        """Where the globs stand in the directory in which the search begins."""
        return self._closed((number, 0) for number in range(len(self._paths)))

    def may_match_below(self, state: State) -> bool:
        """Tell whether anything in a directory where the globs stand so can match."""
        return bool(state) or self._name is not None or self._directory is not None

    def step(self, state: State, name: str, *, is_directory: bool) -> tuple[bool, State]:
        """Tell whether a name matches in a directory where the globs stand so, and where they stand in it."""
        matched = (self._name is not None and self._name(name) is not None) or (
            is_directory and self._directory is not None and self._directory(name) is not None
        )
        if not state:
            return matched, ()
        following: list[tuple[int, int]] = []
        for number, position in state:
            glob = self._paths[number]
            part = glob.parts[position]
            last = position == len(glob.parts) - 1
            if part is None:
                following.append((number, position))
            elif not part(name):
                continue
            elif not last:
                following.append((number, position + 1))
            if last and (is_directory or not glob.directories):
                matched = True
        return matched, self._closed(following) if is_directory else ()

    def _closed(self, state: Iterable[tuple[int, int]]) -> State:
        """Add where globs stand once `**` has stood for no directory at all."""
        positions: dict[tuple[int, int], None] = {}
        for number, first in state:
            parts = self._paths[number].parts
            position = first
            positions[number, position] = None
            while parts[position] is None and position < len(parts) - 1:
                position += 1
                positions[number, position] = None
        return tuple(positions)


def _parts(text: str) -> tuple[Part | None, ...]:
    parts: list[Part | None] = []
    for part in text.strip("/").split("/"):
        if part in ("", ".", ".."):
            raise EnvdError(Code.INVALID_ARGUMENT, f"glob {text!r}: {part!r} cannot be a part of one")
        if part != "**":
            parts.append(re.compile(fnmatch.translate(part)).match)
        elif not parts or parts[-1] is not None:
            parts.append(None)
    return tuple(parts)


def _any_of(globs: list[str]) -> Part | None:
    if not globs:
        return None
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs)).match


def _expanded(globs: Iterable[str]) -> Iterator[str]:
    count = 0
    for glob in globs:
        todo = [glob]
        while todo:
            text = todo.pop()
            braces = _BRACES.search(text)
            if braces is not None:
                choices = braces[0][1:-1].split(",")
                # What is no choice stays as it is, but is not looked at again.
                todo += [text[: braces.start()] + choice + text[braces.end() :] for choice in reversed(choices)]
            else:
                yield text
            count += 1
            if count + len(todo) > _EXPANSIONS:
                raise EnvdError(Code.INVALID_ARGUMENT, f"globs: braces stand for more than {_EXPANSIONS} globs")
