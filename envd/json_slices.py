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
        value, offset = self._value(self._skip(0))
        if self._skip(offset) != len(self._text):
            raise self._error("Extra data", offset)
        return value

    def _skip(self, offset: int) -> int:
        """Return where the next character is that is not white space."""
        match = _space(self._text, offset)
        assert match is not None  # it matches nothing, too
        return match.end()

    def _value(self, offset: int) -> tuple[Any, int]:
        """Return the value that begins at `at`, and where it ends."""
        self._count += 1
        if self._count > self._elements:
            raise ValueError(f"more than {self._elements} elements")
        if self._count % ELEMENTS_AT_ONCE == 0:
            self._turn()
        first = self._text[offset : offset + 1]
        if first == "{":
            return self._object(offset + 1)
        if first == "[":
            return self._array(offset + 1)
        return _scalar(self._text, offset)

    def _object(self, offset: int) -> tuple[dict[str, Any], int]:
        fields: dict[str, Any] = {}
        offset = self._skip(offset)
        if self._text.startswith("}", offset):
            return fields, offset + 1
        while True:
            if not self._text.startswith('"', offset):
                raise self._error("Expecting property name enclosed in double quotes", offset)
            name, offset = _scalar(self._text, offset)
            offset = self._skip(offset)
            if not self._text.startswith(":", offset):
                raise self._error("Expecting ':' delimiter", offset)
            fields[name], offset = self._value(self._skip(offset + 1))
            more, offset = self._more("}", offset)
            if not more:
                return fields, offset

    def _array(self, offset: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        offset = self._skip(offset)
        if self._text.startswith("]", offset):
            return values, offset + 1
        while True:
            value, offset = self._value(offset)
            values.append(value)
            more, offset = self._more("]", offset)
            if not more:
                return values, offset

    def _more(self, end: str, offset: int) -> tuple[bool, int]:
        """Return whether another one follows, and where that, or what is behind the end, begins."""
        offset = self._skip(offset)
        if self._text.startswith(end, offset):
            return False, offset + 1
        if not self._text.startswith(",", offset):
            raise self._error("Expecting ',' delimiter", offset)
        return True, self._skip(offset + 1)

    def _error(self, message: str, offset: int) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, offset)
