"""JSON of many elements, decoded so that no other thread waits for all of it.

`json.loads` keeps the interpreter to itself until the last byte: 0.1 to 0.7 s for 300 000 elements on a busy machine.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

ELEMENTS_AT_ONCE = 128
_space = re.compile(r"[ \t\n\r]*").match
_scalar = json.JSONDecoder().raw_decode


def decode(text: str, elements: int, turn: Callable[[], None] = lambda: time.sleep(0)) -> Any:
    """Return what json.loads would; to be called in a thread.

    Args:
        text: the document.
        elements: values that it may have, however nested.
        turn: called every 128 elements; lets other threads run.

    Raises:
        ValueError: it is no JSON, or has more elements.
        RecursionError: it is nested too deeply.
    """
    return _Decoder(text, elements, turn).document()


class _Decoder:
    def __init__(self, text: str, elements: int, turn: Callable[[], None]) -> None:
        self._text = text
        self._elements = elements
        self._turn = turn
        self._count = 0

    def document(self) -> Any:
        value, at = self._value(self._skip(0))
        if self._skip(at) != len(self._text):
            raise self._error("Extra data", at)
        return value

    def _skip(self, at: int) -> int:
        """Return where the next character is that is not white space."""
        found = _space(self._text, at)
        assert found is not None  # it matches nothing, too
        return found.end()

    def _value(self, at: int) -> tuple[Any, int]:
        """Return the value that begins at `at`, and where it ends."""
        self._count += 1
        if self._count > self._elements:
            raise ValueError(f"more than {self._elements} elements")
        if self._count % ELEMENTS_AT_ONCE == 0:
            self._turn()
        first = self._text[at : at + 1]
        if first == "{":
            return self._object(at + 1)
        if first == "[":
            return self._array(at + 1)
        return _scalar(self._text, at)

    def _object(self, at: int) -> tuple[dict[str, Any], int]:
        fields: dict[str, Any] = {}
        at = self._skip(at)
        if self._text.startswith("}", at):
            return fields, at + 1
        while True:
            if not self._text.startswith('"', at):
                raise self._error("Expecting property name enclosed in double quotes", at)
            name, at = _scalar(self._text, at)
            at = self._skip(at)
            if not self._text.startswith(":", at):
                raise self._error("Expecting ':' delimiter", at)
            fields[name], at = self._value(self._skip(at + 1))
            more, at = self._more("}", at)
            if not more:
                return fields, at

    def _array(self, at: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        at = self._skip(at)
        if self._text.startswith("]", at):
            return values, at + 1
        while True:
            value, at = self._value(at)
            values.append(value)
            more, at = self._more("]", at)
            if not more:
                return values, at

    def _more(self, end: str, at: int) -> tuple[bool, int]:
        """Return whether another one follows, and where that, or what is behind the end, begins."""
        at = self._skip(at)
        if self._text.startswith(end, at):
            return False, at + 1
        if not self._text.startswith(",", at):
            raise self._error("Expecting ',' delimiter", at)
        return True, self._skip(at + 1)

    def _error(self, message: str, at: int) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, at)
