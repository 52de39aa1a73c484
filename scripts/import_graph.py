"""Reads which module imports which from the sources, and folds modules into rooms. Nothing of the project is run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Graph = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a package.

    Attributes:
        name: dotted.
        is_package: it is a folder's `__init__`.
        needs: modules that it imports, those under `if TYPE_CHECKING` and inside functions too.
        only_typed: those of them that nothing but a type checker imports.
    """

    name: str
    source: str
    is_package: bool
    needs: frozenset[str] = frozenset()
    only_typed: frozenset[str] = frozenset()


def read_modules(root: Path, packages: tuple[str, ...]) -> dict[str, Module]:
    """Every module below the packages by its dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Module(name, path.read_text(), is_package)
    return {name: _with_needs(module, frozenset(found)) for name, module in found.items()}


def _with_needs(module: Module, known: frozenset[str]) -> Module:
    run: set[str] = set()
    typed: set[str] = set()
    for node, guarded in _imports(ast.parse(module.source), guarded=False):
        (typed if guarded else run).update(set(_targets(node, module)) & known - {module.name})
    return Module(module.name, module.source, module.is_package, frozenset(run | typed), frozenset(typed - run))


def _imports(node: ast.AST, *, guarded: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, guarded
        asks = isinstance(child, ast.If) and ast.unparse(child.test).split(".")[-1] == "TYPE_CHECKING"
        yield from _imports(child, guarded=guarded or asks)


def _targets(node: ast.Import | ast.ImportFrom, module: Module) -> Iterator[str]:
    """Every module that an import may mean: `from package import name` is the package, or the module `package.name`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    above = module.name.split(".")
    if node.level:
        above = above[: len(above) - node.level + module.is_package]
    base = ".".join([*(above if node.level else []), *((node.module or "").split(".") if node.module else [])])
    for alias in node.names:
        yield f"{base}.{alias.name}"
        yield base


def rooms_of(modules: Mapping[str, Module], room: Callable[[str], str | None]) -> Graph:
    """Rooms and the rooms they import; `room` names that of a module, or None for one that is left out."""
    graph: Graph = {}
    for name, module in modules.items():
        here = room(name)
        if here is not None:
            there = {room(target) for target in module.needs}
            graph.setdefault(here, set()).update(one for one in there if one is not None and one != here)
    for target in set().union(*graph.values()) - graph.keys() if graph else ():
        graph[target] = set()
    return graph


def levels_of(graph: Graph) -> dict[str, int]:
    """Give each room a level: one above the highest it imports, 1 if it imports none; rooms of a circle share one."""
    circle = circles(graph)
    levels: dict[str, int] = {}

    def level(room: str) -> int:
        if room not in levels:
            below = {target for one in circle[room] for target in graph[one]} - circle[room]
            found = 1 + max((level(target) for target in below), default=0)
            levels.update(dict.fromkeys(circle[room], found))
        return levels[room]

    for room in sorted(graph):
        level(room)
    return levels


def circles(graph: Graph) -> dict[str, frozenset[str]]:
    """Return for each room those that it reaches and that reach it: itself alone if it stands in no circle."""
    reach = {room: _reached(graph, room) for room in graph}
    return {room: frozenset({room} | {one for one in reach[room] if room in reach[one]}) for room in graph}


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def without_detours(graph: Graph) -> Graph:
    """Return the arrows that no longer way replaces: A to C goes where A to B and B to C are there."""
    circle = circles(graph)
    kept: Graph = {}
    for room, targets in graph.items():
        others = {one: _reached(graph, one) | {one} for one in targets if one not in circle[room]}
        kept[room] = {
            target
            for target in targets
            if target in circle[room]
            or not any(target in reached for one, reached in others.items() if one not in circle[target])
        }
    return kept
