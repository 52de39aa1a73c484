"""Ranges, conditions, codings, names and types in HTTP headers."""

from __future__ import annotations

from contextlib import suppress

import pytest

from envd.services.filesystem.rest.conditions import Verdict, Version, judge, range_holds
from envd.services.filesystem.rest.content_type import content_type
from envd.services.filesystem.rest.dates import http_date, second_from_http_date
from envd.services.filesystem.rest.disposition import inline, parameters
from envd.services.filesystem.rest.negotiation import best_coding, identity_accepted
from envd.services.filesystem.rest.ranges import MalformedRangeError, NoOverlapError, Span, spans_from_range

NOW = 784111777
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"
VERSION = Version('"1-2"', NOW)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=2-4", [(2, 3)]),
        ("bytes=5-", [(5, 5)]),
        ("bytes=-3", [(7, 3)]),
        ("bytes=-100", [(0, 10)]),
        ("bytes=8-100", [(8, 2)]),
        ("bytes=0-1, 4-5 ,,9-", [(0, 2), (4, 2), (9, 1)]),
        ("Bytes = 1-1", [(1, 1)]),
        ("bytes=20-,0-0", [(0, 1)]),
        ("bytes=0-99999999999999999999999999", [(0, 10)]),
        ("bytes=0-,0-,0-", []),
        ("bytes=" + "0-0," * 100, []),
    ],
)
def test_ranges_of_ten_bytes(text, spans):
    assert spans_from_range(text, 10) == tuple(Span(*span) for span in spans)


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=-0", "bytes=99999999999999999999999999-", "bytes=10-11,12-"])
def test_ranges_beyond_the_file(text):
    with pytest.raises(NoOverlapError):
        spans_from_range(text, 10)


@pytest.mark.parametrize("text", ["bytes=0-", "bytes=-5", "bytes=3-4"])
def test_an_empty_file_is_sent_whole(text):
    assert spans_from_range(text, 0) == ()


@pytest.mark.parametrize(
    "text",
    ["", "bytes", "bytes=", "items=0-1", "bytes=x-1", "bytes=1-x", "bytes=-", "bytes=5-2", "bytes=+1-2", "bytes=1"],
)
def test_malformed_ranges(text):
    with pytest.raises(MalformedRangeError):
        spans_from_range(text, 10)


@pytest.mark.parametrize(
    "text", ["bytes=" + "-" * 60000, "bytes=" + "9" * 60000 + "-", "bytes=" + ",".join(["1-2"] * 15000)]
)
def test_hostile_ranges_are_read_in_no_time(text):
    with suppress(MalformedRangeError, NoOverlapError):
        assert len(spans_from_range(text, 1000)) <= 64


@pytest.mark.parametrize("text", [IMF, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_dates_come_in_three_forms(text):
    assert second_from_http_date(text) == NOW
    assert http_date(NOW) == IMF


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 25:49:37 GMT",
        IMF + "x",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
    ],
)
def test_other_dates_are_none(text):
    assert second_from_http_date(text) is None


@pytest.mark.parametrize("second", [0, -1, 1 << 60])
def test_times_no_header_can_hold(second):
    assert http_date(second) is None


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, Verdict.PROCEED),
        ({"if-match": '"1-2"'}, Verdict.PROCEED),
        ({"if-match": "*"}, Verdict.PROCEED),
        ({"if-match": '"x", "1-2"'}, Verdict.PROCEED),
        ({"if-match": 'W/"1-2"'}, Verdict.FAILED),
        ({"if-match": '"x"'}, Verdict.FAILED),
        ({"if-none-match": '"1-2"'}, Verdict.NOT_MODIFIED),
        ({"if-none-match": 'W/"1-2"'}, Verdict.NOT_MODIFIED),
        ({"if-none-match": "*"}, Verdict.NOT_MODIFIED),
        ({"if-none-match": '"x"'}, Verdict.PROCEED),
        ({"if-none-match": '"x"', "if-modified-since": IMF}, Verdict.PROCEED),
        ({"if-modified-since": IMF}, Verdict.NOT_MODIFIED),
        ({"if-modified-since": "Sun, 06 Nov 1994 08:49:36 GMT"}, Verdict.PROCEED),
        ({"if-modified-since": "whenever"}, Verdict.PROCEED),
        ({"if-unmodified-since": IMF}, Verdict.PROCEED),
        ({"if-unmodified-since": "Sun, 06 Nov 1994 08:49:36 GMT"}, Verdict.FAILED),
        ({"if-match": '"1-2"', "if-unmodified-since": "Sun, 06 Nov 1994 08:49:36 GMT"}, Verdict.PROCEED),
    ],
)
def test_conditions(headers, verdict):
    assert judge(headers, VERSION) is verdict


@pytest.mark.parametrize("headers", [{"if-none-match": ""}, {"if-modified-since": IMF}, {"if-none-match": '"x"'}])
def test_a_file_without_a_version_is_never_unchanged(headers):
    assert judge(headers, Version("", None)) is Verdict.PROCEED


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (None, True),
        (IMF, True),
        ('"1-2"', True),
        ('W/"1-2"', False),
        ('"x"', False),
        ("Sun, 06 Nov 1994 08:49:38 GMT", False),
    ],
)
def test_a_range_holds_for_the_version_it_was_meant_for(wanted, holds):
    assert range_holds({} if wanted is None else {"if-range": wanted}, VERSION) is holds


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", "identity"),
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("br", "identity"),
        ("*", "identity"),
        ("*, gzip", "identity"),
        ("identity, gzip", "identity"),
        ("gzip, identity", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("gzip;q=0", "identity"),
        ("*;q=0, gzip", "gzip"),
        ("identity;q=0", None),
        ("br, identity;q=0", None),
        ("*;q=0", None),
        ("identity;q=0, *", "gzip"),
        ("GZIP;Q=1", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=nonsense", "gzip"),
    ],
)
def test_the_best_coding(accepted, coding):
    assert best_coding(accepted) == coding


@pytest.mark.parametrize(
    ("accepted", "yes"),
    [("", True), ("gzip", True), ("identity;q=0", False), ("*;q=0", False), ("*;q=0, identity;q=0.1", True)],
)
def test_whether_a_file_may_come_as_it_is(accepted, yes):
    assert identity_accepted(accepted) is yes


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.txt", "inline; filename=a.txt"),
        ("my document.pdf", 'inline; filename="my document.pdf"'),
        ('file"name.txt', 'inline; filename="file\\"name.txt"'),
        ("back\\slash", 'inline; filename="back\\\\slash"'),
        ("naïve €.txt", "inline; filename*=utf-8''na%C3%AFve%20%E2%82%AC.txt"),
        ("new\r\nline", "inline; filename*=utf-8''new%0D%0Aline"),
        ("\udcff", "inline; filename*=utf-8''%FF"),
    ],
)
def test_names_are_bare_quoted_or_encoded_and_come_back(name, header):
    assert inline(name) == header
    assert parameters(header) == ("inline", {"filename": name})


@pytest.mark.parametrize(
    ("path", "start", "kind"),
    [
        ("a.HTML", b"", "text/html; charset=utf-8"),
        ("a.json", b"", "application/json"),
        ("a.tar.gz", b"", "application/gzip"),
        ("a.unheard-of", b"words\n", "text/plain; charset=utf-8"),
        ("empty", b"", "text/plain; charset=utf-8"),
        ("x", b"\x00\x01\x02", "application/octet-stream"),
        ("x", b"\x89PNG\r\n\x1a\n....", "image/png"),
        ("x", b"  <!DOCTYPE html>", "text/html; charset=utf-8"),
        ("x", b"<?xml version", "text/xml; charset=utf-8"),
        ("x", b"%PDF-1.7", "application/pdf"),
        ("x", b"PK\x03\x04", "application/zip"),
        ("x", b"RIFF....WEBPVP8 ", "image/webp"),
        ("x", None, "application/octet-stream"),
    ],
)
def test_the_type_is_in_the_name_or_in_the_first_bytes(path, start, kind):
    assert content_type(path, start) == kind
