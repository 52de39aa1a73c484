"""The checklist itself: every line of what is there is named by a test."""

from __future__ import annotations

import ast
from pathlib import Path

TRANSPORT = set(range(1, 43))
ACCESS = set(range(43, 73)) - {59, 60}
SANDBOX = set(range(132, 141))
FILES = {*range(73, 132), *range(142, 167)}
PROCESSES = set(range(171, 207))


def marked_lines(source: str) -> set[int]:
    """The numbers in every `@pytest.mark.line(...)` of a module."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        argument.value
        for call in calls
        if ast.unparse(call.func) == "pytest.mark.line"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def test_every_line_is_shown_by_a_test():
    modules = Path(__file__).parents[1].glob("*/test_*.py")
    shown = set().union(*(marked_lines(module.read_text(encoding="utf-8")) for module in modules))
    assert (TRANSPORT | ACCESS | FILES | SANDBOX | PROCESSES) - shown == set()
