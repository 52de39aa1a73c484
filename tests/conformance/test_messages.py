"""Messages in their two encodings: what is accepted and what is written."""

from __future__ import annotations

import json

import pytest

from envd_proto.process.process_pb2 import ProcessSelector, SendInputRequest
from tests.support.connect import Client, Codec, error_of
from tests.support.daemon import Daemon
from tests.support.kernel import exited
from tests.support.process import LIST, SEND_INPUT, SEND_SIGNAL, Processes, start_request
from tests.support.wires import RpcError


@pytest.mark.line(16)
async def test_unknown_json_fields_are_ignored(daemon: Daemon):
    client = Client(daemon.port, Codec.JSON)
    response = await client.unary_raw(LIST, b'{"noSuchField": {"deep": [1, null]}, "x": "y"}')
    assert response.status == 200


@pytest.mark.line(16)
async def test_unknown_binary_fields_are_ignored(daemon: Daemon):
    client = Client(daemon.port, Codec.PROTO)
    # Field 500, a string: the tag is 500 << 3 | 2.
    response = await client.unary_raw(LIST, b"\xa2\x1f\x03abc")
    assert response.status == 200


@pytest.mark.line(17)
async def test_an_empty_json_body_is_invalid(daemon: Daemon):
    response = await Client(daemon.port, Codec.JSON).unary_raw(LIST, b"")
    error = error_of(response)
    assert (response.status, error.code) == (400, "invalid_argument")
    assert "zero-length payload is not a valid JSON object" in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nope",
        b"[]",
        b"1",
        b'"x"',
        b"{} {}",
        b'{"process": 1}',
        b'{"process": []}',
        b'{"process": {"tag": "\\ud800"}}',
        b'{"process": {"pid": 1, "tag": "x"}}',
        b'{"a" 1}',
        b"\x00",
    ],
    ids=repr,
)
async def test_malformed_json_is_invalid_and_says_so(daemon: Daemon, body):
    response = await Client(daemon.port, Codec.JSON).unary_raw(SEND_SIGNAL, body)
    error = error_of(response)
    assert (response.status, error.code) == (400, "invalid_argument")
    assert error.message.startswith("unmarshal message: ")


async def test_a_malformed_binary_message_is_invalid_and_says_so(daemon: Daemon):
    # A string field that claims more bytes than there are.
    response = await Client(daemon.port, Codec.PROTO).unary_raw(SEND_SIGNAL, b"\x0a\x7fabc")
    error = error_of(response)
    assert (response.status, error.code) == (400, "invalid_argument")
    assert error.message.startswith("unmarshal message")


@pytest.mark.line(18)
@pytest.mark.parametrize("name", ["includeFinished", "include_finished"])
async def test_field_names_are_accepted_in_both_styles(daemon: Daemon, name):
    processes = Processes.on(daemon.port, Codec.JSON)
    finished = await processes.run(start_request("true"))
    response = await processes.client.unary_raw(LIST, json.dumps({name: True}).encode())
    assert finished.pid in {info["pid"] for info in json.loads(response.body)["processes"]}


@pytest.mark.line(18)
async def test_bytes_are_accepted_in_both_base64_alphabets(daemon: Daemon):
    processes = Processes.on(daemon.port, Codec.JSON)
    async with processes.start(start_request("cat")) as program:
        for text in ("+/8=", "-_8="):
            body = {"process": {"pid": program.pid}, "input": {"stdin": text}}
            assert (await processes.client.unary_raw(SEND_INPUT, json.dumps(body).encode())).status == 200
        await processes.close_stdin(ProcessSelector(pid=program.pid))
        assert (await program.rest()).stdout == b"\xfb\xff" * 2


@pytest.mark.line(20)
async def test_an_empty_answer_is_an_empty_message(over_connect: Processes):
    async with over_connect.start(start_request("cat")) as program:
        codec = over_connect.client.codec
        body = codec.encode(SendInputRequest(process=ProcessSelector(pid=program.pid), input={"stdin": b"x"}))
        response = await over_connect.client.unary_raw(SEND_INPUT, body)
    assert response.body == (b"{}" if codec is Codec.JSON else b"")


@pytest.mark.line(20)
async def test_absent_fields_of_a_listed_program_are_omitted(daemon: Daemon):
    processes = Processes.on(daemon.port, Codec.JSON)
    async with processes.start(start_request("sleep", "1000")) as program:
        response = await processes.client.unary_raw(LIST, b"{}")
    info = next(info for info in json.loads(response.body)["processes"] if info["pid"] == program.pid)
    assert info["config"] == {"cmd": "sleep", "args": ["1000"]}
    assert not {"tag", "end"} & set(info)


@pytest.mark.line(21)
@pytest.mark.parametrize("value", [9, "SIGNAL_SIGKILL"])
async def test_enums_are_accepted_by_number_and_by_name(daemon: Daemon, value):
    processes = Processes.on(daemon.port, Codec.JSON)
    async with processes.start(start_request("sleep", "1000")) as program:
        body = json.dumps({"process": {"pid": program.pid}, "signal": value}).encode()
        assert (await processes.client.unary_raw(SEND_SIGNAL, body)).status == 200
        await exited(program.pid)


@pytest.mark.every_wire
async def test_a_message_of_too_many_elements_is_invalid_and_one_of_many_is_not(processes: Processes):
    request = start_request("/bin/sh", "-c", "echo $#", "sh", *("a" for _ in range(30_000)))
    assert (await processes.run(request)).stdout == b"30000\n"
    request.process.args.extend("" for _ in range(200_000))
    with pytest.raises(RpcError) as error:
        await processes.run(request)
    assert (error.value.code, "more than 200000 elements" in str(error.value)) == ("invalid_argument", True)
