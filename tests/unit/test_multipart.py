"""Forms, cut into pieces at every byte."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from envd.errors import Code, EnvdError
from envd.services.filesystem.rest.multipart import Multipart, boundary_from
from tests.support.files import BOUNDARY, form, part

MARK = b"\r\n--" + BOUNDARY.encode()
# Each looks like the beginning of a boundary, and is not.
NEARLY = [b"", b"\r", b"\r\n", b"\r\n-", b"\r\n--", MARK[:-1], MARK + b"x", MARK + b"-", MARK + b"\n", b"\r" * 50]


class Pieces:
    """A body in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]

    async def read(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


async def parse(pieces: list[bytes]) -> list[tuple[str, str | None, bytes]]:
    """Field, file name and content of every part."""
    found = []
    multipart = Multipart(Pieces(pieces), BOUNDARY.encode())
    while (head := await multipart.next_part()) is not None:
        content = b""
        while data := await multipart.read():
            content += data
        found.append((head.field, head.filename, content))
    return found


async def error_of(body: bytes) -> str:
    with pytest.raises(EnvdError) as caught:
        await parse([body])
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


async def test_parts_are_found_wherever_the_body_is_cut():
    body = b"preamble" + form([b"\r\n" + part(b"one\r\n--a-boundarx"), part(b"", filename=None, name="x"), part(b"\r")])
    expected = [("file", "f", b"one\r\n--a-boundarx"), ("x", None, b""), ("file", "f", b"\r")]
    for first in range(len(body) + 1):
        assert await parse([body[:first], body[first:]]) == expected
    assert await parse([body[at : at + 1] for at in range(len(body))]) == expected


@pytest.mark.parametrize("content", NEARLY)
async def test_content_that_looks_like_a_boundary_stays_content(content):
    body = form([part(content + b"tail"), part(b"head" + content)])
    for size in (1, 2, 3, 7, len(body)):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        found = [data for _, _, data in await parse(pieces)]
        assert found[0] == content + b"tail"
        # A carriage return before a boundary's own belongs to the content; nothing else is lost either.
        assert found[1] == b"head" + content


async def test_random_contents_arrive_whole_in_random_pieces():
    chance = random.Random(7)
    for _ in range(300):
        contents = [bytes(chance.choices(b"\r\n-a" + BOUNDARY.encode(), k=chance.randrange(60))) for _ in range(3)]
        contents = [content for content in contents if MARK not in b"\r\n" + content]
        body = form(part(content) for content in contents)
        cuts = sorted(chance.randrange(len(body) + 1) for _ in range(6))
        pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert [data for _, _, data in await parse(pieces)] == contents


async def test_every_body_that_is_cut_short_is_refused():
    body = form([part(b"content"), part(b"more")])
    last = body.rindex(b"--\r\n") + 2  # what comes behind the last boundary means nothing
    for end in range(last):
        assert "unexpected EOF" in await error_of(body[:end])
    for end in range(last, len(body) + 1):
        assert len(await parse([body[:end]])) == 2


async def test_mutilated_forms_never_do_anything_but_fail_or_parse():
    chance = random.Random(11)
    body = form([part(b"content", more="X: y\r\n"), part(b"more" * 20)])
    for _ in range(2000):
        broken = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        with suppress(EnvdError):
            await parse([bytes(broken)])


async def test_blanks_behind_a_boundary_are_padding():
    body = form([part(b"one")]).replace(BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b" \t \r\n", 1)
    for first in range(len(body)):
        assert await parse([body[:first], body[first:]]) == [("file", "f", b"one")]


async def test_a_form_may_have_no_parts():
    assert await parse([form([])]) == []


async def test_headers_without_end_are_refused():
    endless = part(b"")[:-4] + b"X: " + b"y" * 20_000
    assert "longer than 16384 bytes" in await error_of(endless)


async def test_ten_thousand_parts_are_enough():
    body = form([part(b"x")] * 10_000)
    assert len(await parse([body])) == 10_000
    assert "more than 10000 parts" in await error_of(form([part(b"x")] * 10_001))


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('form-data; name="file"; filename="a b.txt"', "a b.txt"),
        ("form-data; name=file; filename=plain", "plain"),
        (r'form-data; name="file"; filename="a\"b\\c"', r'a"b\c'),
        (r'form-data; name="file"; filename="C:\dir\x"', r"C:\dir\x"),
        ("form-data; name=\"file\"; filename*=utf-8''%e2%82%ac%20x", "€ x"),
        ('form-data; name="file"; filename="x"; filename*=UTF-8\'en\'na%C3%AFve', "naïve"),
        ("form-data; name=\"file\"; filename*=iso-8859-1''%e4", "ä"),
        ('form-data; name="file"; filename="dir/sub/ü.txt"', "dir/sub/ü.txt"),
        ('form-data; name="file"; filename="semi;colon=1"', "semi;colon=1"),
        ('form-data; name="file"', None),
    ],
)
async def test_file_names_come_in_every_form(disposition, filename):
    body = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--{BOUNDARY}--".encode()
    assert await parse([body]) == [("file", filename, b"x")]


@pytest.mark.parametrize("disposition", ['form-data; name="file', "form-data; name=x; filename*=nope", "a; ==", "; ;x"])
async def test_a_malformed_disposition_is_refused(disposition):
    body = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--{BOUNDARY}--".encode()
    assert "malformed" in await error_of(body)


async def test_parts_without_a_form_field_have_none():
    body = (
        f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}\r\nContent-Disposition: attachment\r\n\r\ny\r\n--{BOUNDARY}--".encode()
    )
    assert await parse([body]) == [("", None, b"x"), ("", None, b"y")]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", 'multipart/x; b="'])
def test_a_form_needs_a_boundary(content_type):
    with pytest.raises(EnvdError, match="error reading form"):
        boundary_from(content_type)


@pytest.mark.parametrize("boundary", ["x" * 71, "ends with a blank ", "ü", "tab\there"])
def test_a_boundary_keeps_to_the_rules(boundary):
    with pytest.raises(EnvdError, match="1 to 70 printable characters"):
        boundary_from(f'multipart/form-data; boundary="{boundary}"')
