"""Conditions of requests: they tell whether a client's copy of a file is current. Source: RFC 9110, section 13."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from .dates import second_from_http_date

NAMES = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range")
"""Headers that are about a file's exact bytes, and so cannot be answered compressed."""


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a file's content: a strong entity tag, and its last change in Unix seconds.

    Empty and None where that cannot be told.
    """

    etag: str
    modified_s: int | None


class Verdict(enum.Enum):
    """The verdict on the conditions of a request."""

    PROCEED = 200
    NOT_MODIFIED = 304
    FAILED = 412


def judge(headers: Mapping[str, str], version: Version) -> Verdict:
    """Evaluate the conditions in the order of section 13.2.2; a date that cannot be read is no condition."""
    if "if-match" in headers:
        if not _names(headers["if-match"], version.etag, weak=False):
            return Verdict.FAILED
    elif (limit := _date(headers, "if-unmodified-since")) is not None and not _unchanged(version, limit):
        return Verdict.FAILED
    if "if-none-match" in headers:
        if _names(headers["if-none-match"], version.etag, weak=True):
            return Verdict.NOT_MODIFIED
    elif (limit := _date(headers, "if-modified-since")) is not None and _unchanged(version, limit):
        return Verdict.NOT_MODIFIED
    return Verdict.PROCEED


def range_holds(headers: Mapping[str, str], version: Version) -> bool:
    """Tell whether If-Range, if there is one, names this version; else the range is not looked at."""
    validator = headers.get("if-range")
    if validator is None:
        return True
    if '"' in validator:
        return validator.strip() == version.etag
    return version.modified_s is not None and second_from_http_date(validator) == version.modified_s


def _unchanged(version: Version, since: int) -> bool:
    return version.modified_s is not None and version.modified_s <= since


def _date(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    return None if text is None else second_from_http_date(text)


def _names(text: str, etag: str, *, weak: bool) -> bool:
    """Tell whether a list of entity tags has this one, or is `*`. Our tags have no comma in them."""
    tags = [tag.strip() for tag in text.split(",")]
    return tags == ["*"] or (etag != "" and (etag in tags or (weak and f"W/{etag}" in tags)))
