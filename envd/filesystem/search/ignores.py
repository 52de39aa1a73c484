"""Rules of .gitignore files. Source: gitignore(5)."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass

from envd.filesystem.access import open_path
from envd.filesystem.walking import SEARCH, open_down, open_entry

_FILE = ".gitignore"
_REPOSITORY = ".git"
_LARGEST_BYTES = 1024 * 1024
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_MARK = "(?P<ps_d>"  # how pathspec names the group that matches the slash behind a directory


@dataclass(frozen=True, slots=True)
class _Rules:
    """One file's rules, for paths that begin at `base`.

    Attributes:
        base: length of the directory's path with a slash behind it.
        runs: expressions for whole paths, last rules first, and whether what they match is ignored.
    """

    base: int
    runs: tuple[tuple[re.Pattern[str], bool], ...]


@dataclass(frozen=True, slots=True)
class Ignores:
    """The rules that hold in a directory, the nearest last."""

    rules: tuple[_Rules, ...] = ()

    @classmethod
    def above(cls, directory: str) -> Ignores:
        """Return the rules that hold in a directory, whose path has no links in it, before its own. Blocks."""
        top = directory
        while not os.path.lexists(f"{top}/{_REPOSITORY}"):
            parent = os.path.dirname(top)
            if parent == top:
                return cls()  # in no repository: only the rules from here on down
            top = parent
        with contextlib.ExitStack() as fds:
            try:
                return cls._between(top, directory, fds)
            except OSError:
                return cls()  # moved meanwhile

    @classmethod
    def _between(cls, top: str, directory: str, fds: contextlib.ExitStack) -> Ignores:
        """Return the rules of a repository, from its top down to a directory, without that one's own."""
        fd = open_path(top, SEARCH)
        fds.callback(os.close, fd)
        ignores = cls._of_repository(fd, top)
        if top == directory:
            return ignores
        for name in os.path.relpath(directory, top).split("/"):
            ignores = ignores.inside(fd, top)
            fd = open_entry(fd, name, SEARCH)
            fds.callback(os.close, fd)
            top = os.path.join(top, name)
        return ignores

    @classmethod
    def _of_repository(cls, directory: int, path: str) -> Ignores:
        try:
            info = open_down(directory, (_REPOSITORY, "info"), SEARCH)
        except OSError:
            return cls()
        try:
            rules = _rules_in(info, "exclude", path)
        finally:
            os.close(info)
        return cls(() if rules is None else (rules,))

    def inside(self, directory: int, path: str) -> Ignores:
        """Return the rules that hold for what is in an open directory, by its path as `ignore` will have it. Blocks."""
        rules = _rules_in(directory, _FILE, path)
        return self if rules is None else Ignores((*self.rules, rules))

    def entering(self, directory: int, path: str) -> Ignores:
        """As `inside`, for a directory further down, which may be another repository: that begins anew. Blocks."""
        try:
            os.lstat(_REPOSITORY, dir_fd=directory)
        except OSError:
            return self.inside(directory, path)
        return self._of_repository(directory, path).inside(directory, path)

    def ignore(self, path: str, name: str, *, is_directory: bool) -> bool:
        """Tell whether an entry of the directory is ignored."""
        if name == _REPOSITORY:
            return True
        end = "/" if is_directory else ""
        for rules in reversed(self.rules):
            within = path[rules.base :] + end
            for expression, ignored in rules.runs:
                if expression.fullmatch(within):
                    return ignored
        return False


def _rules_in(directory: int, name: str, path: str) -> _Rules | None:
    lines = _lines_of(directory, name)
    if not lines:
        return None
    runs = _runs(lines)
    return _Rules(len(path.rstrip("/")) + 1, runs) if runs else None


def _lines_of(directory: int, name: str) -> list[str]:
    try:
        fd = open_entry(directory, name, _READ)
    except OSError:
        return []  # as git, which only warns
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        with contextlib.suppress(OSError):
            return os.read(fd, _LARGEST_BYTES).decode("utf-8-sig", "surrogateescape").splitlines()
        return []
    finally:
        os.close(fd)


def _runs(lines: list[str]) -> tuple[tuple[re.Pattern[str], bool], ...]:
    """Return rules that follow one another and say the same as one expression, the last ones first."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - late: seldom needed

    runs: list[tuple[list[str], bool]] = []
    for line in lines:
        try:
            expression, ignored = GitIgnoreSpecPattern.pattern_to_regex(line)
            if expression is None or ignored is None:
                continue
            whole = _whole(expression)
            re.compile(whole)
        except (ValueError, re.error):
            continue  # git passes over what it cannot read, too
        if not runs or runs[-1][1] != ignored:
            runs.append(([], ignored))
        runs[-1][0].append(f"(?:{whole})")
    return tuple((re.compile("|".join(parts), re.DOTALL), ignored) for parts, ignored in reversed(runs))


def _whole(expression: str) -> str:
    """Return an expression for a whole path, of one that matches the path's beginning or any part of it.

    What is in an ignored directory is never looked at, so an expression need not match it.
    """
    if expression == ".":
        return ".+"
    if expression in ("/", f"{_MARK}/)"):
        return ".+/"  # any directory
    if expression.endswith("/"):
        return f"{expression}.+"  # anything below one
    return expression.replace(_MARK, "(?:")
