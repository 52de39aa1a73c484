"""Commands with many arguments and variables: kept as they are, and checked and written a little at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from envd.errors import Code, EnvdError
from envd.process.command import Command, Timeouts
from envd.process.tty import Size
from envd.process.turns import in_turns

MANY = {f"NAME_{number:06}": "x" * 60 for number in range(50_000)}


@pytest.mark.parametrize(
    "command",
    [
        Command("sleep"),
        Command("", ("",), {"EMPTY": ""}, ""),
        Command(
            "sh",
            ("-c", '€ "\n\\', "\udcff"),
            {"EURO": "€"},
            "/",
            "tag",
            stdin=False,
            key="key",
            timeouts=Timeouts(1, 2, 3),
            limits=((7, 99),),
            terminal=Size(81, 25),
            term="xterm",
        ),
        Command("sleep", tuple(str(number) for number in range(1000)), MANY),
    ],
)
def test_what_is_kept_of_a_command_is_the_command(command: Command) -> None:
    assert Command.from_json(command.to_json()) == command


def test_its_variables_come_over_those_around_it_and_a_terminal_type_only_where_there_is_none() -> None:
    around = {"PATH": "/bin", "NAME": "outer"}
    assert dict(Command("x", envs={"NAME": "€"}, term="xterm").environment(around)) == {
        b"PATH": b"/bin",
        b"NAME": "€".encode(),
        b"TERM": b"xterm",
    }
    for envs, outer in (({"TERM": "mine"}, {}), ({}, {"TERM": "mine"})):
        assert dict(Command("x", envs=envs, term="xterm").environment(outer)) == {b"TERM": b"mine"}


@pytest.mark.parametrize("bad", [{"A=B": ""}, {"": "x"}, {"A": "\0"}, {"A\0": ""}])
async def test_one_bad_variable_among_many_is_found(bad: dict[str, str]) -> None:
    with pytest.raises(EnvdError) as refused:
        await in_turns(Command("x", envs={**MANY, **bad}).checks())
    assert refused.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("work", ["checks", "json_pieces", "environment"])
async def test_others_have_their_turns_meanwhile(work: str) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    command = Command("x", envs=MANY)
    pieces: dict[str, Callable[[], Iterable[object]]] = {
        "checks": command.checks,
        "json_pieces": command.json_pieces,
        "environment": lambda: command.environment({}),
    }
    task = asyncio.create_task(others())
    await in_turns(pieces[work]())
    task.cancel()
    assert turns >= 3
