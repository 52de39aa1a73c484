"""JSON that is decoded a little at a time: what json.loads makes of it, and turns in between."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from envd.json_slices import ELEMENTS_AT_ONCE, decode

WHOLE = (
    "{}",
    "[]",
    ' \n{ "a" : [ 1 , -2.5e3 , true , false , null , "\\u00e9\\n" , { } ] , "b" : { "c" : [ [ ] ] } } \t',
    '"text"',
    "0",
    '{"a":1,"a":2}',
    '{"":"\\ud83d\\ude00"}',
    "[NaN, -Infinity]",
)
BROKEN = (
    *("", " ", "{", "[", "]", "{]", "[1,]", "[,1]", "[1 2]", "[] []", "[01]", '["\n"]', "tru", '"', "\ufeff[]"),
    *('{"a":1,}', '{,"a":1}', '{"a"}', '{"a" 1}', "{1:2}", "{'a':1}"),
)


def everything(text: str, **more: Any) -> Any:
    return decode(text, 1_000_000, **more)


@pytest.mark.parametrize("text", WHOLE)
def test_it_makes_of_a_text_what_json_does(text: str):
    assert repr(everything(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", BROKEN)
def test_it_refuses_what_json_refuses(text: str):
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(json.JSONDecodeError):
        everything(text)


def test_any_value_comes_back():
    chance = random.Random(1)
    for _ in range(200):
        value = _random(chance, 4)
        for indent in (None, 1):
            assert everything(json.dumps(value, indent=indent)) == value


def _random(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(6 if depth else 4)
    if kind == 4:
        return [_random(chance, depth - 1) for _ in range(chance.randrange(5))]
    if kind == 5:
        return {chr(chance.randrange(32, 0x2000)): _random(chance, depth - 1) for _ in range(chance.randrange(5))}
    return (chance.random(), chance.randrange(-(10**20), 10**20), None, '"\\\0\x1f\u2028é')[kind]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"envs": {f"name{n}": "value" for n in range(10_000)}}),
        json.dumps([0] * 10_000),
        json.dumps([{"a": []}] * 5000),
    ],
)
def test_others_have_a_turn_every_so_many_elements(text: str):
    turns: list[None] = []
    everything(text, turn=lambda: turns.append(None))
    assert len(turns) >= 10_000 // ELEMENTS_AT_ONCE


def test_what_has_too_many_elements_is_refused_before_they_are_made():
    turns: list[None] = []
    with pytest.raises(ValueError, match="more than 1000 elements"):
        decode("[" + "0," * 1_000_000 + "0]", 1000, lambda: turns.append(None))
    assert len(turns) == 1000 // ELEMENTS_AT_ONCE


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(RecursionError):
        everything("[" * 100_000)
