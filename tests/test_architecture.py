"""The layers and budgets of the code, read from its sources; and proof that the rules catch what they forbid."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("envd", "envd_proto", "envd_sdk")
DOMAINS = ("envd.filesystem", "envd.process", "envd.pty")
# Domains that build on another one.
ABOVE = {"envd.pty": ("envd.process",)}
# What serves each of them, and the machine: it speaks the contract's messages, and stands above its own domain.
SERVED = {
    "envd.services.filesystem": "envd.filesystem",
    "envd.services.process": "envd.process",
    "envd.services.pty": "envd.pty",
    "envd.services.system": "envd.host",
}

# What these modules write and read messages with.
LEAVES_OF_SERVICES = ("envd.chunk_encoder", "envd.json_slices", "envd.message_encoder", "envd.varint")

# Everything the keeper may import: built into the interpreter, or small. Each fork copies what it has loaded.
KEEPER_STDLIB = {
    "__future__",
    "_collections_abc",
    "_signal",
    "_socket",
    "errno",
    "gc",
    "marshal",
    "os",
    "resource",
    "select",
    "sys",
    "time",
}
# What single modules of a domain may import.
ZSTD = ("backports", "compression")  # from Python 3.14 on it is in the standard library
THIRD_PARTY = {
    "envd.filesystem.archive.tarstream.compression": ZSTD,
    "envd.filesystem.search.ignores": ("pathspec",),
    "envd.filesystem.watching.polling": ("watchdog",),
}
# Imports inside functions: too large to load before they are needed; ctypes opens a file as it is loaded.
LATE = (
    "ctypes",
    "google.protobuf.json_format",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "httpx",
    "importlib",
    "pathspec",
    "watchdog",
    *ZSTD,
)

FUNCTION_LINES = 50
MODULE_LINES = 400
CATCHES_EVERYTHING = {
    "envd.filesystem.search.outbox",
    "envd.filesystem.thread_pool",
    "envd.keeper.loop",
    "envd.supervise",
    "envd.transport.calls",
    "envd.transport.http1",
    "envd_sdk._concurrency.reader",
    "envd_sdk._async.watching",
    "envd_sdk._sync.watching",
}
BORN_HERE = ("envd.supervise", "envd_sdk._concurrency.reader", "envd_sdk._concurrency.background")


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module.

    Attributes:
        late: inside a function.
        typing_only: under `if TYPE_CHECKING`.
    """

    module: str
    line: int
    late: bool
    typing_only: bool


@dataclass(frozen=True, slots=True)
class Layer:
    """What a module may import; a name stands for itself and what is below it."""

    ours: tuple[str, ...] = ()
    third_party: tuple[str, ...] = ()
    stdlib: frozenset[str] | None = None


# Reading.


@cache
def sources() -> dict[str, str]:
    """Every module by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


@cache
def known_packages() -> frozenset[str]:
    return frozenset(name.rpartition(".")[0] for name in sources())


@cache
def imports(name: str, source: str, modules: frozenset[str]) -> list[Import]:
    """The imports of a module, `from package import module` resolved to the module if it is one of `modules`."""
    found: list[Import] = []
    _collect(ast.parse(source), name, modules, found, late=False, typing_only=False)
    return found


def _collect(
    node: ast.AST, name: str, modules: frozenset[str], found: list[Import], *, late: bool, typing_only: bool
) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            found.extend(Import(target, child.lineno, late, typing_only) for target in _targets(child, name, modules))
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guarded = isinstance(child, ast.If) and ast.unparse(child.test).split(".")[-1] == "TYPE_CHECKING"
        _collect(child, name, modules, found, late=late or function, typing_only=typing_only or guarded)


def _targets(node: ast.Import | ast.ImportFrom, name: str, modules: frozenset[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    package = name if name in known_packages() else name.rpartition(".")[0]
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
    for alias in node.names:
        whole = f"{base}.{alias.name}"
        yield whole if whole in modules or whole in LATE else base


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


# Layers.


def layer_of(name: str) -> Layer:
    """The row of the table in the design, for one module."""
    last = name.rpartition(".")[2]
    if within(name, ("envd_proto",)):
        grpc = ("grpc",) if last.endswith("_pb2_grpc") else ()
        return Layer(("envd_proto",), ("google.protobuf", *grpc))
    if within(name, ("envd_sdk",)):
        return _sdk(name)
    if name == "envd.keeper.client":
        return Layer(("envd.keeper.wire", "envd.errors"))
    if name == "envd.keeper.standby":  # runs in the server, as the client does
        return Layer(("envd.keeper.wire", "envd.keeper.naming"))
    if within(name, ("envd.keeper",)):
        return Layer(
            _all_below("envd.keeper", but=("envd.keeper.client", "envd.keeper.standby")), (), frozenset(KEEPER_STDLIB)
        )
    if name == "envd.rpc":
        return Layer(("envd.errors",), ("google.protobuf",))
    if name == "envd.web":
        return Layer(("envd.errors",))
    if within(name, ("envd.transport",)):
        grpc = ("grpc", "grpc_reflection", "grpc_health") if last == "grpc_server" else ()
        leaves = ("envd.config", "envd.errors", "envd.json_slices", "envd.logs", "envd.varint")
        ours = ("envd.transport", "envd.rpc", "envd.web", *leaves)
        return Layer(ours, ("httptools", "google.protobuf", *grpc))
    if within(name, ("envd.services",)):
        return _service(name)
    if within(name, ("envd.host", *DOMAINS)):
        return _domain(name)
    if name in ("envd.server", "envd.files"):
        return Layer(("envd", "envd_proto"))
    if name == "envd.__main__":
        return Layer(("envd.access_token", "envd.config", "envd.logs", "envd"))
    if name in ("envd.chunk_encoder", "envd.message_encoder"):
        return Layer(("envd.varint",))
    leaves = ("access_token", "errors", "config", "json_slices", "logs", "supervise", "varint")
    if name in ("envd", *(f"envd.{leaf}" for leaf in leaves)):
        return Layer()
    raise AssertionError(f"{name} stands in no row of the table: say here what it may import")


def _sdk(name: str) -> Layer:
    """Outside the sandbox: the contract, never the daemon. grpc is loaded by _wire, httpx by client, both late."""
    if within(name, ("envd_sdk._wire",)):
        return Layer(("envd_sdk._wire", "envd_proto"), ("google.protobuf", "grpc"))
    if within(name, ("envd_sdk._async", "envd_sdk._sync")):
        other = "envd_sdk._sync" if within(name, ("envd_sdk._async",)) else "envd_sdk._async"
        ours = [module for module in sources() if within(module, ("envd_sdk",)) and not within(module, (other,))]
        return Layer((*(module for module in ours if module != "envd_sdk"), "envd_proto"), ("google.protobuf",))
    if name == "envd_sdk":
        return Layer(("envd_sdk",))
    # Decisions and data: nothing that is done twice, once for asyncio and once for threads.
    shells = ("envd_sdk._async", "envd_sdk._sync", "envd_sdk._wire.aio", "envd_sdk._wire.blocking")
    below = [module for module in sources() if within(module, ("envd_sdk",)) and not within(module, shells)]
    httpx = ("httpx",) if name == "envd_sdk.client.client" else ()
    # A name stands for what is below it, too: not those of folders that hold both kinds.
    ours = [module for module in below if module not in ("envd_sdk", "envd_sdk._wire")]
    return Layer((*ours, "envd_proto"), ("google.protobuf", *httpx))


def _service(name: str) -> Layer:
    """Between wires and a domain: it knows the contract's messages and its own domain, but no wire."""
    if name == "envd.services":
        return Layer()
    service = next(service for service in SERVED if within(name, (service,)))
    domain = SERVED[service]
    above = [above for above, below in SERVED.items() if below in ABOVE.get(domain, ())]
    # A worker is a process of its own, in which everything comes together.
    host = ("envd.host",) if name == "envd.services.filesystem.search.worker" else ()
    leaves = ("envd.rpc", "envd.web", "envd.errors", *LEAVES_OF_SERVICES)
    return Layer((service, domain, *above, *ABOVE.get(domain, ()), *host, *leaves, "envd_proto"), ("google.protobuf",))


def _domain(name: str) -> Layer:
    if within(name, ("envd.host",)):
        return Layer((*_all_below("envd.host"), "envd.access_token"), ("psutil",) if name != "envd.host" else ())
    own = next(domain for domain in DOMAINS if within(name, (domain,)))
    third_party = THIRD_PARTY.get(name, ())
    below = [module for domain in (own, *ABOVE.get(own, ()), "envd.host") for module in _all_below(domain)]
    return Layer(
        (*below, "envd.config", "envd.errors", "envd.supervise", "envd.keeper.client", "envd.keeper.naming"),
        third_party,
    )


def _all_below(package: str, but: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The modules of a package that its own modules may import."""
    return tuple(name for name in sources() if name.startswith(f"{package}.") and name not in but)


def allowed(name: str, layer: Layer, one: Import) -> bool:
    first = one.module.split(".")[0]
    if first in PACKAGES:
        if name == "envd.__main__" or one.module == "envd":
            return one.module in layer.ours
        return within(one.module, layer.ours) or (within(name, ("envd.host",)) and one.module == "envd.errors")
    if first in sys.stdlib_module_names:
        return layer.stdlib is None or one.module in layer.stdlib or one.typing_only
    return within(one.module, layer.third_party)


def forbidden_imports(name: str, source: str) -> list[str]:
    """Every import of a module that the table, or the rule about late ones, does not allow."""
    layer = layer_of(name)
    found = []
    for one in imports(name, source, frozenset(sources())):
        if not allowed(name, layer, one):
            found.append(f"{name}:{one.line} must not import {one.module}")
        elif one.late and not within(one.module, LATE):
            found.append(f"{name}:{one.line} imports {one.module} inside a function")
    return found


def cycles(modules: dict[str, str]) -> list[str]:
    """Modules that need themselves, be it for the type checker alone: one path for each."""
    graph = {
        name: {one.module for one in imports(name, source, frozenset(modules)) if not one.late}
        for name, source in modules.items()
    }
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done and name in graph:
            for target in sorted(graph[name]):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


# Budgets.


def code_lines(source: str) -> int:
    """Lines that hold more than a comment or a docstring."""
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skip and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        lines -= set(_docstring_lines(node))
    return len(lines)


def _docstring_lines(node: ast.AST) -> range:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if not isinstance(node, kinds) or not node.body or not isinstance(node.body[0], ast.Expr):
        return range(0)
    text = node.body[0].value
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        return range(0)
    return range(text.lineno, (text.end_lineno or text.lineno) + 1)


def over_budget(name: str, source: str) -> list[str]:
    found = []
    lines = code_lines(source)
    if lines > MODULE_LINES:
        found.append(f"{name} has {lines} lines of code, {MODULE_LINES} are allowed")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - len(_docstring_lines(node))
            if length > FUNCTION_LINES:
                found.append(f"{name}:{node.lineno} {node.name} has {length} lines, {FUNCTION_LINES} are allowed")
    return found


def stray_habits(name: str, source: str) -> list[str]:
    """Tasks without an owner, handlers that catch everything, finalizers."""
    tree = ast.parse(source)
    groups = _task_groups(tree)
    return [f"{name}:{line} {what}" for node in ast.walk(tree) for line, what in _habit(name, node, groups)]


def _task_groups(tree: ast.AST) -> set[str]:
    """The names task groups are bound to."""
    items = [item for node in ast.walk(tree) if isinstance(node, ast.AsyncWith) for item in node.items]
    return {
        ast.unparse(item.optional_vars)
        for item in items
        if item.optional_vars is not None and ast.unparse(item.context_expr).endswith("TaskGroup()")
    }


def _habit(name: str, node: ast.AST, groups: set[str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Call):
        called, _, last = ast.unparse(node.func).rpartition(".")
        if last in ("create_task", "ensure_future") and called not in groups and name not in BORN_HERE:
            yield node.lineno, "makes a task that no task group and no supervisor owns"
        if last == "suppress" and {"Exception", "BaseException"} & {ast.unparse(one) for one in node.args}:
            yield node.lineno, "suppresses everything"
    elif isinstance(node, ast.ExceptHandler):
        yield from _handler(name, node)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "__del__":
        yield node.lineno, "defines __del__"


def _handler(name: str, node: ast.ExceptHandler) -> Iterator[tuple[int, str]]:
    caught = {"BaseException"} if node.type is None else {ast.unparse(one) for one in _each(node.type)}
    raises = any(isinstance(one, ast.Raise) and one.exc is None for one in ast.walk(node))
    if "BaseException" in caught and not raises:
        yield node.lineno, "catches BaseException and does not raise it again"
    if "Exception" in caught and name not in CATCHES_EVERYTHING:
        yield node.lineno, "catches Exception"


def _each(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


# What holds.


def test_every_module_imports_only_what_its_layer_may() -> None:
    assert not [line for name, source in sources().items() for line in forbidden_imports(name, source)]


def test_transport_and_domains_never_meet() -> None:
    inside = {
        name: {one.module for one in imports(name, source, frozenset(sources()))}
        for name, source in sources().items()
        if within(name, ("envd.transport", "envd.host", "envd.services", *DOMAINS))
    }
    for name, targets in inside.items():
        other = ("envd.host", "envd.services", *DOMAINS) if within(name, ("envd.transport",)) else ("envd.transport",)
        assert not [target for target in targets if within(target, other)], name


def test_no_module_needs_itself() -> None:
    assert not cycles(sources())


def test_modules_and_functions_keep_to_their_budgets() -> None:
    found = [line for name, source in sources().items() if "_pb2" not in name for line in over_budget(name, source)]
    assert not found


def test_tasks_have_owners_and_nothing_catches_everything() -> None:
    found = [line for name, source in sources().items() if "_pb2" not in name for line in stray_habits(name, source)]
    assert not found


# The rules themselves.


def with_line(name: str, line: str) -> list[str]:
    """What is found in a module once a line was added that was not found before."""
    before = sources().get(name, "")
    return [one for one in forbidden_imports(name, f"{before}\n{line}\n") if one not in forbidden_imports(name, before)]


FORBIDDEN = [
    ("envd.services.process.service", "from envd.filesystem.threads import Threads"),
    ("envd.services.process.service", "from envd.services.filesystem import messages"),
    ("envd.filesystem.reading", "if TYPE_CHECKING:\n    from envd.services.filesystem.messages import EntryFormat"),
    ("envd.errors", "import httptools"),
    ("envd.errors", "from envd import config"),
    ("envd.config", "from .errors import Code"),
    ("envd.logs", "import envd.errors"),
    ("envd.supervise", "from envd import logs"),
    ("envd.rpc", "import httptools"),
    ("envd.rpc", "from envd.process import table"),
    ("envd.web", "from google.protobuf.message import Message"),
    ("envd.web", "from envd import rpc"),
    ("envd.keeper.loop", "import json"),
    ("envd.keeper.loop", "import ctypes"),
    ("envd.keeper.loop", "import dataclasses"),
    ("envd.keeper.loop", "from typing import Any"),
    ("envd.keeper.loop", "import logging, os"),
    ("envd.keeper.loop", "import os.path"),
    ("envd.keeper.children", "from envd.errors import Code"),
    ("envd.keeper.children", "from . import client"),
    ("envd.keeper.children", "if TYPE_CHECKING:\n    from .client import KeeperClient"),
    ("envd.keeper.boot", "import argparse"),
    ("envd.keeper.client", "from .children import Children"),
    ("envd.keeper.client", "from envd import process"),
    ("envd.host.users", "from envd.web import Route"),
    ("envd.host.users", "from envd.services.system.routes import Sandbox"),
    ("envd.host.users", "import google.protobuf"),
    ("envd.host.users", "from envd.process.table import ProcessTable"),
    ("envd.services.system.routes", "from envd.process.table import ProcessTable"),
    ("envd.services.system.routes", "from envd.transport import router"),
    ("envd.process.table", "from envd.transport.peer import lost"),
    ("envd.process.table", "from envd.rpc import Call"),
    ("envd.process.table", "from envd_proto.process import process_pb2"),
    ("envd.process.table", "from google.protobuf import message"),
    ("envd.process.table", "from envd.services.process import messages"),
    ("envd.process.table", "from envd.services.process.service import ProcessService"),
    ("envd.process.table", "from envd.keeper import wire"),
    ("envd.process.table", "import psutil"),
    ("envd.filesystem.watching.inotify_hub", "def late():\n    import watchdog.events"),
    ("envd.process.table", "def late():\n    import json"),
    ("envd.services.process.service", "from envd.keeper.client import KeeperClient"),
    ("envd.services.process.service", "from envd.pty.terminal import Terminals"),
    ("envd.process.process", "from envd.pty import terminal"),
    ("envd.pty.terminal", "from envd.services.process.service import ProcessService"),
    ("envd.pty.terminal", "from envd.services.process import messages"),
    ("envd.pty.terminal", "from envd_proto.pty import pty_pb2"),
    ("envd.services.pty.service", "from envd.host.users import Users"),
    ("envd.services.process.service", "from envd.host.users import Users"),
    ("envd.services.process.service", "from envd.transport.connect import serve"),
    ("envd.services.process.messages", "import httptools"),
    ("envd.transport.http1", "from envd.services.process.service import ProcessService"),
    ("envd.transport.http1", "from envd import process"),
    ("envd.transport.http1", "from envd.host import users"),
    ("envd.transport.http1", "from envd_proto.process import process_pb2"),
    ("envd.transport.http1", "import grpc"),
    ("envd.transport.http1", "def late():\n    from envd import logs"),
    ("envd.server", "import httptools"),
    ("envd.server", "import aiohttp"),
    ("envd.__main__", "from envd import server"),
    ("envd.__main__", "from envd.keeper.keeper import Keeper"),
    ("envd_sdk.retrying", "import grpc"),
    ("envd_sdk.retrying", "from envd.errors import Code"),
    ("envd_sdk.retrying", "from envd_sdk._async.calls import AsyncCalls"),
    ("envd_sdk.output", "from envd_sdk._wire.aio import AsyncWire"),
    ("envd_sdk.client.models", "import httpx"),
    ("envd_sdk._wire.aio", "from envd_sdk.retrying import Attempts"),
    ("envd_sdk._async.commands", "import grpc"),
    ("envd_sdk._async.commands", "from envd_sdk._sync.calls import Calls"),
    ("envd_sdk._async.commands", "from envd import config"),
    ("envd_sdk._async.commands", "from envd_sdk import Sandbox"),
    ("envd.server", "import envd_sdk"),
    ("envd_proto.process.process_pb2", "import grpc"),
    ("envd_proto.process.process_pb2", "from envd import errors"),
]

ALLOWED = [
    ("envd.services.filesystem.service", "from envd.services.filesystem.search import messages"),
    ("envd.process.table", "from envd.config import Output"),
    ("envd.transport.router", "from envd.config import Limits"),
    ("envd.rpc", "from envd.errors import Code"),
    ("envd.keeper.loop", "import errno"),
    ("envd.keeper.loop", "if TYPE_CHECKING:\n    from typing import Any"),
    ("envd.keeper.client", "from . import wire"),
    ("envd.host.users", "import psutil"),
    ("envd.services.system.routes", "from envd.host import users"),
    ("envd.process.table", "from envd.supervise import Supervisor"),
    ("envd.filesystem.watching.polling", "def late():\n    import watchdog.events"),
    ("envd.process.table", "from ..host import process_tree"),
    ("envd.services.process.service", "from envd.process.table import ProcessTable"),
    ("envd.pty.terminal", "from envd.process.process import Process"),
    ("envd.services.pty.service", "from envd.services.process import messages"),
    ("envd.transport.http1", "def late():\n    from google.protobuf import json_format"),
    ("envd.transport.grpc_server", "import grpc"),
    ("envd.server", "from envd.services.process import service"),
    ("envd_sdk._wire.aio", "def late():\n    import grpc.aio"),
    ("envd_sdk._async.commands", "from envd_sdk.output import Output"),
    ("envd_sdk.output", "from envd_proto.process import process_pb2"),
]


@pytest.mark.parametrize(("name", "line"), FORBIDDEN)
def test_a_forbidden_import_is_found(name: str, line: str) -> None:
    assert with_line(name, line)


@pytest.mark.parametrize(("name", "line"), ALLOWED)
def test_an_import_the_table_grants_is_not_reported(name: str, line: str) -> None:
    assert not with_line(name, line)


def test_a_module_without_a_layer_is_found() -> None:
    with pytest.raises(AssertionError, match=r"envd\.misc stands in no row"):
        forbidden_imports("envd.misc", "import os")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"envd.a": "from envd import b", "envd.b": "from . import a"}, ["envd.a -> envd.b -> envd.a"]),
        (
            {"envd.a": "import envd.b", "envd.b": "import envd.c", "envd.c": "import envd.b"},
            ["envd.b -> envd.c -> envd.b"],
        ),
        (
            {"envd.a": "import envd.b", "envd.b": "if TYPE_CHECKING:\n    import envd.a"},
            ["envd.a -> envd.b -> envd.a"],
        ),
        ({"envd.a": "import envd.b", "envd.b": "def late():\n    import envd.a"}, []),
        ({"envd.a": "import envd.c", "envd.b": "import envd.c", "envd.c": "import os"}, []),
    ],
)
def test_cycles_are_found(texts: dict[str, str], expected: list[str]) -> None:
    assert cycles(texts) == expected


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("def f():\n" + "    a()\n" * 49, 0),
        ("def f():\n" + "    a()\n" * 50, 1),
        ('def f():\n    """One.\n\n    Two.\n    """\n' + "    a()\n" * 49, 0),
        ("a()\n" * 400 + "# why\n\n" * 9, 0),
        ("a()\n" * 401, 1),
        ('"""One.\n\nTwo.\n"""\n' + "a()\n" * 400, 0),
        ("a(\n" + "    1,\n" * 400 + ")\n", 1),
    ],
)
def test_what_is_too_long_is_found(body: str, found: int) -> None:
    assert len(over_budget("envd.x", body)) == found


@pytest.mark.parametrize(
    ("name", "body", "found"),
    [
        ("envd.x", "asyncio.create_task(job())", 1),
        ("envd.x", "loop.create_task(job())", 1),
        ("envd.x", "asyncio.ensure_future(job())", 1),
        ("envd.supervise", "asyncio.create_task(job())", 0),
        ("envd.x", "async def f():\n    async with asyncio.TaskGroup() as jobs:\n        jobs.create_task(job())", 0),
        ("envd.x", "try:\n    a()\nexcept Exception:\n    b()", 1),
        ("envd.x", "try:\n    a()\nexcept (OSError, Exception):\n    b()", 1),
        ("envd.transport.http1", "try:\n    a()\nexcept Exception:\n    b()", 0),
        ("envd.transport.router", "try:\n    a()\nexcept Exception:\n    b()", 1),
        ("envd.x", "try:\n    a()\nexcept:\n    b()", 1),
        ("envd.transport.http1", "try:\n    a()\nexcept BaseException:\n    b()", 1),
        ("envd.x", "try:\n    a()\nexcept BaseException:\n    b()\n    raise", 0),
        ("envd.x", "with contextlib.suppress(Exception):\n    a()", 1),
        ("envd.x", "with suppress(OSError):\n    a()", 0),
        ("envd.x", "class C:\n    def __del__(self):\n        self.close()", 1),
    ],
)
def test_stray_habits_are_found(name: str, body: str, found: int) -> None:
    assert len(stray_habits(name, body)) == found
