"""Every documented name is there, in both halves, and a test shows that it works; the documentation has the table.

`python -m tests.sdk.test_documented` writes the table into docs/sdk.md anew.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import envd_sdk
from envd_sdk.hybrid_method import HybridMethod
from tests.support.control_plane import API_KEY, control_plane
from tests.support.daemon import ROOT, Daemon

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "sdk.md"
CALLS = ROOT / "tests" / "typing" / "documented.py"
BEGIN, END = "<!-- documented names: begin -->", "<!-- documented names: end -->"
# Classes whose two halves have other names here than there.
HALVES = {
    "Filesystem": (envd_sdk.Filesystem, envd_sdk.AsyncFilesystem),
    "Commands": (envd_sdk.Commands, envd_sdk.AsyncCommands),
    "ApiClient": (envd_sdk.ApiClient, envd_sdk.AsyncApiClient),
    "Sandbox": (envd_sdk.Sandbox, None),
    "AsyncSandbox": (None, envd_sdk.AsyncSandbox),
}
# Named in the text, without a signature.
IN_TEXT = (
    "get_sandboxes",
    "post_sandboxes",
    "get_sandboxes_sandbox_id",
    "delete_sandboxes_sandbox_id",
    "post_sandboxes_sandbox_id_timeout",
    "get_sandboxes_sandbox_id_logs",
    "get_sandboxes_sandbox_id_metrics",
)
PLANE, DROP_IN = "test_control_plane.py::", "../integration/test_published_sdk"
ITS_LIFE = f"{PLANE}test_its_life_is_decided_by_object_and_by_id"
PROVEN = {
    "Sandbox.__init__": f"{PLANE}test_the_end_of_a_with_statement_kills",
    "Sandbox.sandbox_id": f"{PLANE}test_a_sandbox_is_made_used_and_killed",
    "Sandbox.files": "test_documented.py::test_the_documented_examples_run",
    "Sandbox.commands": "test_documented.py::test_the_documented_examples_run",
    "Sandbox.pty": "test_terminals.py::test_terminals_are_listed",
    "Sandbox.is_running": f"{PLANE}test_a_sandbox_is_made_used_and_killed",
    "Sandbox.kill": f"{PLANE}test_a_sandbox_is_made_used_and_killed",
    "Sandbox.set_timeout": ITS_LIFE,
    "Sandbox.get_info": ITS_LIFE,
    "Sandbox.create": f"{PLANE}test_a_sandbox_is_made_used_and_killed",
    "Sandbox.connect": f"{PLANE}test_a_sandbox_is_connected_to_and_wakes",
    "Sandbox.__enter__": f"{PLANE}test_the_end_of_a_with_statement_kills",
    "Sandbox.__exit__": f"{PLANE}test_the_end_of_a_with_statement_kills",
    "Filesystem.read": "test_files.py::test_ranges_are_read",
    "Filesystem.write": "test_files.py::test_several_files_are_written_in_every_documented_way",
    "Filesystem.list": f"{DROP_IN}_files.py::test_directories_are_listed_as_deep_as_asked",
    "Filesystem.exists": f"{DROP_IN}_files.py::test_existence_is_told",
    "Filesystem.remove": f"{DROP_IN}_files.py::test_a_directory_is_removed_with_what_is_in_it",
    "Filesystem.rename": f"{DROP_IN}_files.py::test_a_file_is_renamed_into_a_new_directory",
    "Filesystem.make_dir": f"{DROP_IN}_files.py::test_making_a_directory_twice_says_so",
    "Filesystem.watch_dir": "test_watching.py::test_changes_can_be_asked_for",
    "Commands.list": "test_commands.py::test_commands_are_listed_with_tag_and_end",
    "Commands.kill": f"{DROP_IN}.py::test_a_killed_command_ends_and_is_not_found_any_more",
    "Commands.send_stdin": f"{DROP_IN}.py::test_input_reaches_a_command_and_closing_ends_it",
    "Commands.run": "test_commands.py::test_a_result_is_told_from_a_failure",
    "Commands.connect": "test_commands.py::test_everything_kept_can_be_had_again",
    "EntryInfo": "test_files.py::test_what_is_known_of_an_entry",
    "FileType": "test_files.py::test_what_is_known_of_an_entry",
    "WriteEntry": "test_files.py::test_several_files_are_written_in_every_documented_way",
    "CommandResult": "test_commands.py::test_a_result_is_told_from_a_failure",
    "PtySize": "test_terminals.py::test_terminals_are_listed",
    "Stdout": "test_documented.py::test_every_documented_name_is_there",
    "Stderr": "test_documented.py::test_every_documented_name_is_there",
    "PtyOutput": "test_documented.py::test_every_documented_name_is_there",
    "ProcessInfo": "test_commands.py::test_commands_are_listed_with_tag_and_end",
    "SandboxException": "test_commands.py::test_a_handle_that_was_left_says_so",
    "TimeoutException": "test_timeouts.py::test_a_request_that_is_not_answered_times_out",
    "NotFoundException": "test_commands.py::test_input_for_what_is_not_there",
    "AuthenticationException": f"{PLANE}test_without_a_key_nothing_is_asked",
    "InvalidArgumentException": "test_timeouts.py::test_times_are_never_negative",
    "NotEnoughSpaceException": "test_files.py::test_a_full_disk_leaves_what_was_there",
    "TemplateException": f"{PLANE}test_a_template_that_is_too_old_is_refused",
    "RateLimitException": f"{PLANE}test_a_refusal_is_an_exception_with_its_text",
    "CommandExitException": "test_commands.py::test_a_result_is_told_from_a_failure",
    "ApiClient.__init__": f"{PLANE}test_a_token_is_shown_if_there_is_one",
    "ConnectionConfig": "../unit/test_sdk_config.py::test_what_is_not_given_comes_from_the_environment",
    **{f"ApiClient.{name}": f"{PLANE}test_every_endpoint_is_a_method" for name in IN_TEXT},
}


@dataclass(frozen=True)
class Documented:
    """One name of the documented API.

    Attributes:
        node: its signatures or its class, as they stand there.
    """

    owner: str
    name: str
    nodes: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def proof(self) -> str:
        name = str(self).removeprefix("Async").replace("__aenter__", "__enter__").replace("__aexit__", "__exit__")
        return PROVEN[name]


def documented() -> Iterator[Documented]:
    tree = ast.parse((HERE / "documented" / "signatures.txt").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield Documented("", ast.unparse(node.targets[0]))
        elif isinstance(node, ast.ClassDef):
            functions = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            if not functions:
                yield Documented("", node.name, (node,))
            for name in dict.fromkeys(one.name for one in functions):
                yield Documented(node.name, name, tuple(one for one in functions if one.name == name))
    yield from (Documented("ApiClient", name) for name in IN_TEXT)
    yield Documented("", "RateLimitException")


def functions_of(kind: type, name: str) -> list[Any]:
    """What a name of a class calls: its overloads, or both halves of one for objects and classes."""
    found = inspect.getattr_static(kind, name)
    if isinstance(found, HybridMethod):
        # The published API has both under this name: `connect` is documented for the class, the others for objects.
        return [getattr(one, "__func__", one) for one in (found._instance, found._of_class)]
    if isinstance(found, property):
        return [found.fget]
    function = getattr(found, "__func__", found)
    return [*typing.get_overloads(function), function]


# As in the published 2.x, and in docs/sdk.md: the sandbox's default user; a minute for a command.
OTHER_DEFAULTS: dict[object, object] = {"user": None, ("run", "timeout"): 60}


def takes(function: Any, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the documented parameters are there, in their order, with a default where they have one."""
    have = list(inspect.signature(function).parameters.values())
    want = node.args.args
    required = len(want) - len(node.args.defaults)
    for place, one in enumerate(want):
        if place >= len(have) or have[place].name != one.arg:
            return False
        if place >= required:
            default = ast.literal_eval(node.args.defaults[place - required])
            if have[place].default != OTHER_DEFAULTS.get((node.name, one.arg), OTHER_DEFAULTS.get(one.arg, default)):
                return False
    return node.args.kwarg is None or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in have)


def missing(one: Documented) -> list[str]:
    """What there is not of a documented name."""
    if not one.owner:
        return missing_data(one)
    found = []
    for asynchronous, kind in enumerate(HALVES[one.owner]):
        if kind is None:
            continue
        functions = functions_of(kind, one.name)
        for node in one.nodes:
            if not any(takes(function, node) for function in functions):
                found.append(f"{kind.__name__}.{one.name}{ast.unparse(node.args)}")
        is_property = isinstance(inspect.getattr_static(kind, one.name), property)
        should_wait = bool(asynchronous) and one.name != "__init__" and not is_property
        if inspect.iscoroutinefunction(functions[-1]) is not should_wait:
            found.append(f"{kind.__name__}.{one.name} is {'not ' if should_wait else ''}asynchronous")
    return found


def missing_data(one: Documented) -> list[str]:
    kind = getattr(envd_sdk, one.name, None)
    if kind is None:
        return [one.name]
    found = []
    for node in one.nodes:
        bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) not in ("Enum", "Exception")]
        found += [f"{one.name}({base})" for base in bases if not issubclass(kind, getattr(envd_sdk, base))]
        if any(ast.unparse(base) == "Exception" for base in node.bases) and not issubclass(kind, Exception):
            found.append(f"{one.name} is no exception")
        names = [ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)]
        names += [ast.unparse(part.targets[0]) for part in node.body if isinstance(part, ast.Assign)]
        have = {part.name for part in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set(dir(kind))
        if kind is envd_sdk.ConnectionConfig:
            have = set(vars(envd_sdk.ConnectionConfig()))
        found += [f"{one.name}.{name}" for name in names if name not in have]
    return found


# What documented types are called here; in the half for asyncio others.
TYPES = {"List": "list", "Dict": "dict", "IO": "IO[Any]", "Limits": "Any"}
ASYNC_TYPES = {
    "Iterator": "AsyncIterator",
    **dict.fromkeys(("Filesystem", "Commands", "Pty", "CommandHandle", "WatchHandle"), "sdk.Async{}"),
}
CALLS_BEGIN = '''"""Documented functions, called with documented types; written by tests/sdk/test_documented.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import IO, Any, Literal, Optional, Union

import envd_sdk as sdk
'''


class Renamed(ast.NodeTransformer):
    """Documented types as they are called here."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._names = {**TYPES, **(ASYNC_TYPES if asynchronous else {})}

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:  # noqa: N802 - the library's name
        if ast.unparse(node.value) == "Literal":
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:  # noqa: N802
        return self.visit_Name(ast.Name(node.value)) if isinstance(node.value, str) else node

    def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802
        plain = f"sdk.{node.id}" if hasattr(envd_sdk, node.id) else node.id
        return ast.Name(self._names.get(node.id, plain).format(node.id))


def typed_calls() -> str:
    """A module in which every documented function is called with what it is documented to take and to answer.

    A type checker that accepts it has compared the types. What is documented to answer nothing may answer something.
    """
    lines, number = [CALLS_BEGIN], 0
    for one in documented():
        for asynchronous, kind in enumerate(HALVES.get(one.owner, ())):
            for node in one.nodes:
                if kind is None or isinstance(inspect.getattr_static(kind, one.name), property) or node.args.kwarg:
                    continue
                number += 1
                lines += typed_call(kind, node, number, asynchronous=bool(asynchronous))
    return "\n".join(lines)


def typed_call(kind: type, node: Any, number: int, *, asynchronous: bool) -> list[str]:
    def written(annotation: Any) -> str:
        return ast.unparse(Renamed(asynchronous=asynchronous).visit(annotation)) if annotation else "Any"

    taken = {one.arg: written(one.annotation) for one in node.args.args[1:]}
    of_class = any(ast.unparse(one) == "classmethod" for one in node.decorator_list)
    function = f"{'sdk.' + kind.__name__ if of_class else 'this'}.{node.name}"
    if node.name == "__init__":
        function = f"sdk.{kind.__name__}"
    answer = written(node.returns) if node.name != "__init__" else function
    waits = asynchronous and node.name != "__init__"
    kept = "" if answer == "None" else f"_: {answer} = "
    parameters = "".join(f", {name}: {type_of}" for name, type_of in taken.items())
    return [
        "",
        f"{'async ' if waits else ''}def call_{number}(this: sdk.{kind.__name__}{parameters}) -> None:",
        f"    {kept}{'await ' if waits else ''}{function}({', '.join(taken)})",
        "",
    ]


def table() -> str:
    rows = ["| name | there | proven by |", "|---|---|---|"]
    for one in documented():
        halves = HALVES.get(one.owner, ())
        there = " and ".join(half for half, kind in zip(("sync", "async"), halves, strict=False) if kind) or "yes"
        test = os.path.normpath(f"tests/sdk/{one.proof}").replace("::", ": ")
        rows.append(f"| `{one}` | {there} | {test} |")
    return "\n".join(rows)


@pytest.mark.parametrize("one", list(documented()), ids=str)
def test_every_documented_name_is_there(one: Documented):
    assert not missing(one)


@pytest.mark.parametrize("one", list(documented()), ids=str)
def test_every_documented_name_has_a_test(one: Documented):
    path, _, name = one.proof.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (HERE / path).read_text(), re.MULTILINE)


def test_the_documentation_has_the_table():
    text = DOCUMENT.read_text()
    found = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    assert found == table(), "run python -m tests.sdk.test_documented"


def test_the_documented_types_are_checked():
    assert CALLS.read_text() == typed_calls(), "run python -m tests.sdk.test_documented"


def examples() -> dict[str, str]:
    text = (HERE / "documented" / "usage.txt").read_text()
    return dict(re.findall(r"^## (.*?)\n\n```python\n(.*?)```", text, re.MULTILINE | re.DOTALL))


# What the examples leave to the reader: to call what they define, and files they speak of.
AFTER = {
    "Basic async usage": "import asyncio; asyncio.run(main())",
    "AI agent integration": """
import asyncio
async def use():
    executor = CodeExecutor()
    print((await executor.execute_code("print(40 + 2)"))["stdout"])
    print((await executor.execute_code("echo bash", "bash"))["exit_code"])
    await executor.cleanup()
asyncio.run(use())
""",
    "File processing pipeline": """
import os, tempfile
os.chdir(tempfile.mkdtemp())
with open("process.py", "w") as script:
    script.write("open('/tmp/output.json', 'w').write('[1]')")
print(asyncio.run(process_files(["process.py"])))
""",
    "Connection configuration": "print(sandbox.is_running())",
    "Debug mode": "print(sandbox.is_running())",
}
PRINTED = {
    "Main imports": "",
    "Basic sync usage": "Hello World\n\nHello from E2B!\n",
    "Basic async usage": "Hello World\n\nHello from E2B!\n",
    "Connection configuration": "True\n",
    "AI agent integration": "42\n\n0\n",
    "File processing pipeline": "[1]\n",
    "Debug mode": "True\n",
}


@pytest.mark.parametrize("title", list(PRINTED))
async def test_the_documented_examples_run(daemon: Daemon, title: str):
    text = examples()[title].replace("from e2b import", "from envd_sdk import")
    if "await Sandbox.create()" in text:
        # These two await a class that blocks: it can only be the other one.
        text = text.replace("import Sandbox", "import AsyncSandbox as Sandbox")
    with control_plane() as plane:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("E2B_")},
            "E2B_API_KEY": API_KEY,
            "E2B_API_URL": plane.url,
            "E2B_SANDBOX_URL": f"http://{daemon.address}",
        }
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-c", text + AFTER.get(title, "")],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, PRINTED[title]), done.stderr
    assert not plane.sandboxes


if __name__ == "__main__":
    whole = DOCUMENT.read_text()
    before, after = whole[: whole.index(BEGIN) + len(BEGIN)], whole[whole.index(END) :]
    DOCUMENT.write_text(f"{before}\n{table()}\n{after}")
    CALLS.write_text(typed_calls())
