"""Initialisation without a wire: who waits, who left, what is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from envd.errors import Code, EnvdError
from envd.host.access import Access
from envd.host.init import Init, InitSettings
from envd.host.record import Record
from envd.host.session import Session, SessionState
from envd.host.users import Users
from envd.services.system.messages import ns_from_rfc3339


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("session")
    yield fd
    os.close(fd)


class Sandbox:
    """What one server makes of a memory file."""

    def __init__(self, fd: int) -> None:
        self.access = Access()
        self.session = Session(Users(), self.access, Record(fd), in_sandbox=True)
        self.initialiser = Init(self.session, self.access)

    async def init(self, **given: object) -> bool:
        return await self.initialiser.apply(InitSettings(**given))  # type: ignore[arg-type]


async def test_a_successor_has_everything(memory):
    first = Sandbox(memory)
    own = first.session.default_user
    await first.init(
        token="ü", variables={"A": "1\n\u2028", "B": ""}, default_user=own, default_workdir="/tmp", timestamp_ns=2**62
    )
    second = Sandbox(memory)
    assert second.session.state == first.session.state
    assert second.session.state.initialized
    assert second.access.is_token("ü")
    assert not await second.init(token="ü", timestamp_ns=2**62 - 1)
    with pytest.raises(EnvdError):
        await second.init()


def test_a_server_without_a_predecessor_has_nothing(memory):
    assert Sandbox(memory).session.state == SessionState()


@pytest.mark.parametrize("kept", [b"{", b"[]", b'{"unknown":1}'])
def test_what_cannot_be_read_is_not_taken_for_nothing(memory, kept):
    Record(memory).write(kept)
    sandbox = Sandbox(memory)
    # There may have been a token: now there is one that nobody has.
    assert sandbox.access.required
    assert not sandbox.access.is_token("")


async def test_two_at_once_come_one_after_the_other(memory):
    sandbox = Sandbox(memory)
    outcomes = await asyncio.gather(
        sandbox.init(token="a", variables={"A": "a"}),
        sandbox.init(token="b", variables={"A": "b"}),
        sandbox.init(token="a", variables={"A": "c"}),
        return_exceptions=True,
    )
    assert outcomes[0] is True
    assert isinstance(outcomes[1], EnvdError)
    assert outcomes[2] is True
    assert sandbox.session.environment["A"] == "c"


async def test_who_leaves_while_it_waits_changes_nothing(memory):
    sandbox = Sandbox(memory)
    async with asyncio.TaskGroup() as jobs, sandbox.initialiser.turn:
        waiting = jobs.create_task(sandbox.init(token="a"))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
    assert sandbox.session.state == SessionState()
    assert await sandbox.init(token="b")


async def test_without_memory_to_keep_it_nothing_is_changed():
    read_only = os.open("/dev/null", os.O_RDONLY)
    try:
        sandbox = Sandbox(read_only)
        with pytest.raises(EnvdError):
            await sandbox.init(token="a", variables={"A": "1"})
        assert sandbox.session.state == SessionState()
        assert not sandbox.access.required
    finally:
        os.close(read_only)


async def test_secrets_are_not_in_what_is_printed(memory):
    sandbox = Sandbox(memory)
    settings = InitSettings(token="s3cret", variables={"A": "s3cret"})
    await sandbox.initialiser.apply(settings)
    assert "s3cret" not in repr((settings, sandbox.session.state, sandbox.access))


async def test_the_daemons_own_variables_are_left_out(memory):
    sandbox = Sandbox(memory)
    await sandbox.init(variables={"E2B_SANDBOX": "x", "E2B_SANDBOX_ID": "x", "E2B_EVENTS_ADDRESS": "x", "A": "1"})
    assert sandbox.session.environment == {"A": "1", "E2B_SANDBOX": "true"}


async def test_a_variable_may_be_as_large_as_a_program_can_get(memory):
    sandbox = Sandbox(memory)
    largest = "x" * (131_072 - len("A") - 2)
    await sandbox.init(variables={"A": largest})
    with pytest.raises(EnvdError) as error:
        await sandbox.init(variables={"A": largest + "x"})
    assert error.value.code is Code.INVALID_ARGUMENT
    assert sandbox.session.environment["A"] == largest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:01.5+00:00", 1_500_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800 * 10**9),
        ("9999-12-31T23:59:59.9999999999999Z", 253_402_300_799 * 10**9 + 999_999_999),
        ("2024-02-29T00:00:00-23:59", 1_709_164_800 * 10**9 + 86_340 * 10**9),
    ],
)
def test_times_are_read_to_the_nanosecond(text, expected):
    assert ns_from_rfc3339(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-01-01",
        "2025-01-01T00:00:00",
        "2025-01-01t00:00:00Z",
        "2025-01-01T00:00:00z",
        "2025-01-01T00:00:00,5Z",
        "2025-01-01T00:00:00.Z",
        "2025-01-01T00:00Z",
        "2025-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T00:00:60Z",
        "2025-01-01T00:00:00+24:00",
        "2025-01-01T00:00:00+00:60",
        "2025-01-01T00:00:00Z\n",
        "\u0662025-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - that is all there is to it
        ns_from_rfc3339(text)


async def test_what_a_program_starts_from_is_of_one_piece(memory):
    sandbox = Sandbox(memory)
    await sandbox.init(variables={"A": "old"}, default_workdir="/old")
    around = sandbox.session.surroundings(None)
    await sandbox.init(variables={"A": "new"}, default_workdir="/new")
    assert (around.environment["A"], around.workdir) == ("old", "/old")
    assert around.environment["HOME"] == around.user.home
