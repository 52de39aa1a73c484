"""The loop of an agent that programs: a model asks for tools, the sandbox runs them, the model sees what came of it.

The model here is a script, so that the example runs anywhere; a real one goes in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from envd_sdk import CommandExitException, CommandTimeoutException, FileNotFoundException, Sandbox

# Characters of an answer that a model is shown.
SHOWN = 2000


@dataclass(frozen=True)
class ToolCall:
    """What a model wants done."""

    tool: str
    arguments: dict[str, str]


def scripted_model(root: str) -> Generator[ToolCall | str, str, None]:
    """Look, write, run, read the failure, repair, run again, answer. It is sent what each tool said."""
    seen = yield ToolCall("read_file", {"path": f"{root}/fib.py"})
    assert "no such file" in seen.lower()
    wrong = "def fib(n):\n    return n if n < 2 else fib(n - 1)\n"
    yield ToolCall("write_file", {"path": f"{root}/fib.py", "text": wrong})
    check = f"cd {root} && python3 -B -c 'from fib import fib; assert fib(10) == 55, fib(10)'"
    seen = yield ToolCall("run", {"command": check})
    assert "AssertionError" in seen
    right = "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
    yield ToolCall("write_file", {"path": f"{root}/fib.py", "text": right})
    seen = yield ToolCall("run", {"command": check})
    yield "fib is done and checked" if "status 0" in seen else f"I could not do it: {seen}"


class Tools:
    """What the model may do. Every failure is an answer to it, none ends the loop."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def run(self, command: str) -> str:
        try:
            found = self._sandbox.commands.run(command, timeout=30)
        except CommandTimeoutException as error:
            return f"timed out; until then it said:\n{error.stdout}{error.stderr}"
        except CommandExitException as error:
            found = error
        return f"status {found.exit_code}\n{found.stdout}{found.stderr}"

    def read_file(self, path: str) -> str:
        try:
            return self._sandbox.files.read(path)
        except FileNotFoundException as error:
            return str(error)

    def write_file(self, path: str, text: str) -> str:
        return f"wrote {self._sandbox.files.write(path, text).path}"

    def use(self, call: ToolCall) -> str:
        known: dict[str, Callable[..., str]] = {
            "run": self.run,
            "read_file": self.read_file,
            "write_file": self.write_file,
        }
        return known[call.tool](**call.arguments)[:SHOWN]


def main() -> None:
    with Sandbox.local() as sandbox:
        root = sandbox.commands.run("mktemp -d").stdout.strip()
        tools, model = Tools(sandbox), scripted_model(root)
        step = next(model)
        while isinstance(step, ToolCall):
            answer = tools.use(step)
            print(f"{step.tool}: {answer.strip().splitlines()[-1]}")
            step = model.send(answer)
        print("answer:", step)
        sandbox.files.remove(root)


if __name__ == "__main__":
    main()
