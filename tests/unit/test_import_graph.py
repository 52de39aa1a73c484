"""Levels, circles and arrows as the scripts that measure and draw the structure count them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.support.daemon import ROOT


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return importlib.import_module("import_graph")


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "face"


def written(root: Path, **sources: str) -> Path:
    for name, source in {"__init__": "", **sources}.items():
        path = root / "house" / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)
    return root


def test_imports_of_every_kind_are_arrows(graphs, tmp_path):
    written(
        tmp_path,
        a="from . import b\nimport house.c",
        b="def late():\n    from house.sub import d",
        c="if TYPE_CHECKING:\n    from .sub.d import D",
        sub__in__d="from .. import e\nimport os",
        e="",
    )
    modules = graphs.read_modules(tmp_path, ("house",))
    found = graphs.rooms_of(modules, lambda name: None if name == "house" else room(name))
    assert found == {"a": {"b", "c"}, "b": {"sub"}, "c": {"sub"}, "sub": {"e"}, "e": set()}
    assert modules["house.c"].only_typed == {"house.sub.d"}
    assert graphs.levels_of(found) == {"e": 1, "sub": 2, "b": 3, "c": 3, "a": 4}


def test_a_circle_shares_a_level_and_keeps_its_arrows(graphs):
    graph = {"a": {"b", "d"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert graphs.levels_of(graph) == {"d": 1, "b": 2, "c": 2, "a": 3}
    assert graphs.circles(graph)["b"] == {"b", "c"}
    assert graphs.without_detours(graph) == {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
