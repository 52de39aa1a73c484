"""Content types of files, by their names or first bytes. Source: WHATWG MIME Sniffing, sections 6 and 7."""

from __future__ import annotations

import functools
import mimetypes
import os
import re

SNIFFED_BYTES = 512
BINARY = "application/octet-stream"
_TEXT = "text/plain; charset=utf-8"

# The same whatever the machine's own tables say.
_KNOWN = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".csv": "text/csv",
    ".gif": "image/gif",
    ".gz": "application/gzip",
    ".htm": "text/html",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".xml": "text/xml",
    ".zip": "application/zip",
}

_SIGNATURES = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"\xfe\xff", "text/plain; charset=utf-16be"),
    (b"\xff\xfe", "text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", _TEXT),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"BM", "image/bmp"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"\x00\x00\x02\x00", "image/x-icon"),
    (b"OggS\x00", "application/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"MThd\x00\x00\x00\x06", "audio/midi"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"\x00\x01\x00\x00", "font/ttf"),
    (b"OTTO", "font/otf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\x03\x04", "application/zip"),
    (b"Rar!\x1a\x07\x00", "application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", "application/x-rar-compressed"),
    (b"\x00asm", "application/wasm"),
)
_RIFF = {b"WEBPVP": "image/webp", b"AVI ": "video/avi", b"WAVE": "audio/wave"}
_HTML = re.compile(
    rb"[\t\n\x0c\r ]*<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|!--)[ >]",
    re.IGNORECASE,
)
_XML = re.compile(rb"[\t\n\x0c\r ]*<\?xml")
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def content_type(path: str, start: bytes | None) -> str:
    """Return a file's type: by the extension of its path, else by its first bytes; without those, binary."""
    named = _by_extension(os.path.splitext(path)[1].lower())
    if named is not None:
        return named
    return BINARY if start is None else _sniff(start[:SNIFFED_BYTES])


@functools.lru_cache(maxsize=256)
def _by_extension(extension: str) -> str | None:
    content_type = _KNOWN.get(extension) or _system().types_map[True].get(extension) if extension else None
    return (
        f"{content_type}; charset=utf-8"
        if content_type is not None and content_type.startswith("text/")
        else content_type
    )


@functools.cache
def _system() -> mimetypes.MimeTypes:
    """Return what this machine knows."""
    return mimetypes.MimeTypes([file for file in mimetypes.knownfiles if os.access(file, os.R_OK)])


def _sniff(start: bytes) -> str:
    for signature, kind in _SIGNATURES:
        if start.startswith(signature):
            return kind
    if start.startswith(b"RIFF"):
        return next((kind for name, kind in _RIFF.items() if start.startswith(name, 8)), BINARY)
    if start.startswith(b"ftyp", 4):
        return "video/mp4"
    if _HTML.match(start):
        return "text/html; charset=utf-8"
    if _XML.match(start):
        return "text/xml; charset=utf-8"
    return BINARY if _NO_TEXT.search(start) else _TEXT
