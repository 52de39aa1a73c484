"""Connect calls with one request and one answer: content types, compression, errors, deadlines."""

from __future__ import annotations

import gzip
import json
import uuid

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    CloseStdinRequest,
    ListRequest,
    ListResponse,
    ProcessSelector,
    SendSignalRequest,
)
from tests.support.connect import Client, Codec, ConnectError, error_of
from tests.support.daemon import Daemon
from tests.support.http1 import exchange
from tests.support.process import CLOSE_STDIN, LIST, NO_PID, SEND_SIGNAL, START, Processes, start_request

UNARY_TYPES = {
    "application/grpc",
    "application/grpc+json",
    "application/grpc+json; charset=utf-8",
    "application/grpc+proto",
    "application/grpc-web",
    "application/grpc-web+json",
    "application/grpc-web+json; charset=utf-8",
    "application/grpc-web+proto",
    "application/json",
    "application/json; charset=utf-8",
    "application/proto",
}
OWN_UNARY_TYPES = {"application/json", "application/json; charset=utf-8", "application/proto"}


def call_of_nobody(codec: Codec) -> bytes:
    """A SendSignal request that is answered with not_found."""
    return codec.encode(SendSignalRequest(process=ProcessSelector(pid=NO_PID), signal=SIGNAL_SIGKILL))


@pytest.mark.line(9)
async def test_another_content_type_is_415_and_told_what_is_accepted(daemon: Daemon):
    response = await exchange(daemon.port, "POST", f"/{LIST}", headers={"Content-Type": "text/plain"}, body=b"{}")
    accepted = {name.strip() for name in response.headers["Accept-Post"].split(",")}
    assert (response.status, response.body) == (415, b"")
    assert accepted >= OWN_UNARY_TYPES
    assert accepted <= UNARY_TYPES


async def test_no_content_type_is_415(daemon: Daemon):
    assert (await exchange(daemon.port, "POST", f"/{LIST}", body=b"{}")).status == 415


@pytest.mark.line(11)
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/json"])
async def test_the_content_type_of_the_answer_is_that_of_the_question(daemon: Daemon, content_type):
    headers = {"Content-Type": content_type}
    response = await exchange(daemon.port, "POST", f"/{LIST}", headers=headers, body=b"{}")
    assert (response.status, response.headers["Content-Type"]) == (200, content_type)


@pytest.mark.line(12)
async def test_an_empty_binary_body_is_a_message_of_defaults(daemon: Daemon):
    headers = {"Content-Type": "application/proto"}
    response = await exchange(daemon.port, "POST", f"/{LIST}", headers=headers, body=b"")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/proto")
    ListResponse.FromString(response.body)


@pytest.mark.line(13)
async def test_an_answer_says_how_long_it_is_and_that_gzip_may_be_sent(client: Client):
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()))
    assert response.status == 200
    assert response.headers["Accept-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) == len(response.body)


@pytest.mark.line(14)
async def test_an_error_is_json_with_code_and_message_in_either_codec(client: Client):
    response = await client.unary_raw(SEND_SIGNAL, call_of_nobody(client.codec))
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.body) == {"code": "not_found", "message": f"process with pid {NO_PID} not found"}


@pytest.mark.line(14)
async def test_an_error_text_is_safe_inside_html(client: Client):
    name = f"<&>{uuid.uuid4().hex}"
    request = SendSignalRequest(process=ProcessSelector(tag=name), signal=SIGNAL_SIGKILL)
    response = await client.unary_raw(SEND_SIGNAL, client.codec.encode(request))
    assert json.loads(response.body)["message"] == f"process with tag {name} not found"
    assert not set(b"<>&") & set(response.body)


@pytest.mark.line(15)
async def test_not_found_is_404(client: Client):
    assert (await client.unary_raw(SEND_SIGNAL, call_of_nobody(client.codec))).status == 404


@pytest.mark.line(15)
async def test_invalid_argument_is_400(client: Client):
    response = await client.unary_raw(LIST, b"\xff")
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


@pytest.mark.line(15)
async def test_unimplemented_is_501(client: Client):
    response = await client.unary_raw(CLOSE_STDIN, client.codec.encode(ListRequest()))
    assert (response.status, error_of(response).code) == (501, "unimplemented")


@pytest.mark.line(15)
async def test_internal_is_500(over_connect: Processes):
    async with over_connect.start(start_request("sleep", "1000", stdin=False)) as program:
        with pytest.raises(ConnectError) as error:
            await over_connect.send_input(ProcessSelector(pid=program.pid), b"x")
    assert (error.value.status, error.value.code) == (500, "internal")


@pytest.mark.line(15)
async def test_deadline_exceeded_is_504(client: Client):
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()), headers={"Connect-Timeout-Ms": "0"})
    assert (response.status, error_of(response).code) == (504, "deadline_exceeded")


@pytest.mark.line(22)
async def test_an_answer_is_compressed_if_the_client_accepts_it_however_small(over_connect: Processes):
    codec = over_connect.client.codec
    async with over_connect.start(start_request("cat")) as program:
        body = codec.encode(CloseStdinRequest(process=ProcessSelector(pid=program.pid)))
        response = await over_connect.client.unary_raw(CLOSE_STDIN, body, headers={"Accept-Encoding": "br, gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.body) == (b"{}" if codec is Codec.JSON else b"")


@pytest.mark.line(22)
async def test_an_answer_is_not_compressed_for_a_client_that_names_other_codings(client: Client):
    body = client.codec.encode(ListRequest())
    response = await client.unary_raw(LIST, body, headers={"Accept-Encoding": "br, identity"})
    assert (response.status, response.headers.get("Content-Encoding")) == (200, None)


@pytest.mark.line(23)
async def test_a_compressed_request_is_read_and_answered_compressed(client: Client):
    body = gzip.compress(client.codec.encode(ListRequest()))
    response = await client.unary_raw(LIST, body, headers={"Content-Encoding": "gzip"})
    assert (response.status, response.headers["Content-Encoding"]) == (200, "gzip")
    client.codec.decode(gzip.decompress(response.body), ListResponse)


async def test_a_body_that_is_not_gzip_as_it_claims_is_invalid(client: Client):
    response = await client.unary_raw(LIST, b"{}", headers={"Content-Encoding": "gzip"})
    assert (response.status, error_of(response).code) == (400, "invalid_argument")


@pytest.mark.line(24)
async def test_an_unknown_coding_is_unimplemented(client: Client):
    response = await client.unary_raw(LIST, b"{}", headers={"Content-Encoding": "br"})
    error = error_of(response)
    assert (response.status, error.code) == (501, "unimplemented")
    assert error.message == 'unknown compression "br": supported encodings are gzip'


@pytest.mark.line(25)
async def test_another_protocol_version_is_invalid(client: Client):
    body = client.codec.encode(ListRequest())
    response = await client.unary_raw(LIST, body, headers={"Connect-Protocol-Version": "2"})
    error = error_of(response)
    assert (response.status, error.code) == (400, "invalid_argument")
    assert 'Connect-Protocol-Version must be "1": got "2"' in error.message


@pytest.mark.line(26)
@pytest.mark.parametrize("headers", [{}, {"Connect-Protocol-Version": "1"}], ids=["absent", "1"])
async def test_the_protocol_version_may_be_given(client: Client, headers):
    response = await client.unary_raw(LIST, client.codec.encode(ListRequest()), headers=headers)
    assert response.status == 200


@pytest.mark.line(33)
async def test_a_timeout_that_is_no_number_is_invalid(client: Client):
    body = client.codec.encode(ListRequest())
    response = await client.unary_raw(LIST, body, headers={"Connect-Timeout-Ms": "abc"})
    error = error_of(response)
    assert (response.status, error.code) == (400, "invalid_argument")
    assert "parse timeout" in error.message


@pytest.mark.line(34)
async def test_a_timeout_of_eleven_digits_is_invalid(client: Client):
    body = client.codec.encode(ListRequest())
    response = await client.unary_raw(LIST, body, headers={"Connect-Timeout-Ms": "12345678901"})
    error = error_of(response)
    assert (response.status, error.code) == (400, "invalid_argument")
    assert ">10 digits" in error.message


@pytest.mark.line(34)
async def test_a_timeout_of_ten_digits_is_accepted(client: Client):
    body = client.codec.encode(ListRequest())
    response = await client.unary_raw(LIST, body, headers={"Connect-Timeout-Ms": "9999999999"})
    assert response.status == 200


async def test_a_stream_of_messages_is_no_unary_body(daemon: Daemon, codec: Codec):
    headers = {"Content-Type": codec.stream_type}
    assert (await exchange(daemon.port, "POST", f"/{LIST}", headers=headers, body=b"")).status == 415


@pytest.mark.line(10)
async def test_a_unary_content_type_on_a_stream_is_415(daemon: Daemon, codec: Codec):
    headers = {"Content-Type": codec.unary_type}
    response = await exchange(daemon.port, "POST", f"/{START}", headers=headers, body=b"{}")
    accepted = {name.strip() for name in response.headers["Accept-Post"].split(",")}
    assert response.status == 415
    assert {"application/connect+json", "application/connect+proto"} <= accepted
