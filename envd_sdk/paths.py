"""Paths in a sandbox, also those that are not UTF-8. No network in here."""

from __future__ import annotations

from typing import Protocol, TypedDict, runtime_checkable

from envd_sdk.exceptions import InvalidArgumentException


@runtime_checkable
class Located(Protocol):
    """An object with a path: entries, files that were found or changed.

    Attributes:
        path: U+FFFD stands for what is not UTF-8.
        raw_path: then, its bytes; else None.
    """

    @property
    def path(self) -> str: ...

    @property
    def raw_path(self) -> bytes | None: ...


# Text, as of os.fsdecode also for names that are not UTF-8; bytes; or what tells where it is.
SandboxPath = str | bytes | Located


class PathFields(TypedDict):
    """The two fields of a request that name an entry."""

    path: str
    raw_path: bytes


def path_fields(path: SandboxPath, *, what: str = "path") -> PathFields:
    """What a request says of a path.

    Raises:
        InvalidArgumentException: it is none.
    """
    raw = raw_of(path, what=what)
    return {"path": raw.decode(errors="replace"), "raw_path": b"" if _is_text(raw) else raw}


def shown(path: SandboxPath, *, what: str = "path") -> str:
    """A path for messages.

    Raises:
        InvalidArgumentException: it is none.
    """
    return raw_of(path, what=what).decode(errors="replace")


def raw_of(path: SandboxPath, *, what: str = "path") -> bytes:
    """The bytes of a path.

    Raises:
        InvalidArgumentException: it is none. protobuf's own words do not say which.
    """
    if isinstance(path, bytes):
        return path
    if isinstance(path, str):
        try:
            return path.encode(errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidArgumentException(f"{what} is no text: {error}") from error
    if isinstance(path, Located) and isinstance(path.path, str):
        return path.path.encode() if path.raw_path is None else path.raw_path
    raise InvalidArgumentException(f"{what} is {type(path).__name__}: give a string, bytes, or an entry")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
