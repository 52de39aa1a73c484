"""Templates of replacements, with references to groups."""

from __future__ import annotations

import re
from collections.abc import Callable

from envd.errors import Code, EnvdError

Replaced = Callable[[re.Match[str]], str]

_REFERENCE = re.compile(r"\\(?:(?P<number>[1-9][0-9]?)|g<(?P<name>[^>]*)>|(?P<letter>.?))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def compile_template(text: str, pattern: re.Pattern[str]) -> Replaced:
    r"""Return what makes the replacement of a match.

    `\1`, `\g<name>` and `\g<0>` are groups, empty if they had no part in the match; `\n`, `\t`, `\r` and `\\` are
    characters. `re.Match.expand` parses its template for every match.

    Raises:
        EnvdError: INVALID_ARGUMENT if there is something else behind a backslash, or no such group.
    """
    parts: list[str | int] = []
    position = 0
    for reference in _REFERENCE.finditer(text):
        parts += (text[position : reference.start()], _part(reference, pattern))
        position = reference.end()
    parts.append(text[position:])
    if not any(isinstance(part, int) for part in parts):
        constant = "".join(map(str, parts))
        return lambda _: constant

    def replaced(match: re.Match[str]) -> str:
        return "".join([part if isinstance(part, str) else match[part] or "" for part in parts])

    return replaced


def _part(reference: re.Match[str], pattern: re.Pattern[str]) -> str | int:
    name, letter = reference["number"] or reference["name"], reference["letter"]
    if letter is not None:
        if letter not in _LETTERS:
            raise _invalid(reference, f"{reference[0]} is no character and no group")
        return _LETTERS[letter]
    number = int(name) if name.isascii() and name.isdigit() else pattern.groupindex.get(name)
    if number is None or number > pattern.groups:
        raise _invalid(reference, f"the pattern has no group {name}")
    return number


def _invalid(reference: re.Match[str], why: str) -> EnvdError:
    return EnvdError(Code.INVALID_ARGUMENT, f"replacement: {why}, at position {reference.start()}")
