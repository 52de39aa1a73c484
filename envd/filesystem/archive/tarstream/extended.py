"""Extended headers, which override fields of an entry's own.

Source: pax(1p); GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from envd.errors import Code, EnvdError

from . import pax, sparse
from .header_fields import Header
from .member import NO_ATTRIBUTES, Extent, Member, MemberKind

_MOST_SIZE = (1 << 63) - 1
_MOST_DIGITS = 20
_MOST_TIME_NS = (1 << 40) * 1_000_000_000  # the kernel cuts it down to what the file system can hold


def take(data: bytes, fields: dict[bytes, bytes], attributes: dict[str, bytes], numbers: list[int]) -> None:
    """Sort the records of an extended header: repeated ones and attributes apart, the last of the others counts."""
    for keyword, value in pax.records(data):
        if keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            numbers.append(sparse.number(value))
        elif keyword == b"GNU.sparse.map":
            numbers[:] = [sparse.number(text) for text in value.split(b",")]
        elif keyword.startswith(pax.XATTR):
            name = pax.unquoted(keyword.removeprefix(pax.XATTR))
            if name.startswith("user.") and "\0" not in name:
                attributes[name] = value
        else:
            fields[keyword] = value  # an empty one takes back what was said before


class Extended:
    """A header whose fields extended headers override."""

    def __init__(
        self, header: Header, fields: dict[bytes, bytes], attributes: dict[str, bytes], numbers: list[int]
    ) -> None:
        self.header = header
        self.numbers = numbers
        self._fields = fields
        self._attributes = attributes

    @property
    def name(self) -> str:
        """Return the name, as it stands there."""
        fields = self._fields
        raw = fields.get(b"GNU.sparse.name") or fields.get(b"path") or self.header.name
        return raw.decode(errors="surrogateescape")

    @property
    def stored(self) -> int:
        """Bytes of content in the archive."""
        return self._number(b"size", self.header.size)

    @property
    def size(self) -> int:
        """Bytes of the file, holes included."""
        if self.header.kind == b"S":
            return self.header.real_size
        key = b"GNU.sparse.realsize" if b"GNU.sparse.realsize" in self._fields else b"GNU.sparse.size"
        return self._number(key, self.stored)

    @property
    def names_directory(self) -> bool:
        """True for a file's name with a slash at the end, an old archive's way to say so.

        The name in the header may only be the beginning of what an extended header says.
        """
        return self.header.kind in (b"0", b"\0") and self.name.endswith("/")

    @property
    def has_map_in_content(self) -> bool:
        """True for format 1.0."""
        return self._fields.get(b"GNU.sparse.major") == b"1"

    @property
    def is_sparse(self) -> bool:
        """True for formats 0.0 and 0.1."""
        return bool(self.numbers) or b"GNU.sparse.size" in self._fields

    def _number(self, keyword: bytes, otherwise: int) -> int:
        value = self._fields.get(keyword)
        if value is None:
            return otherwise
        if not value.isdigit() or len(value) > _MOST_DIGITS or int(value) > _MOST_SIZE:
            raise EnvdError(Code.INVALID_ARGUMENT, f"the archive is damaged: {keyword.decode()} of {self.name}")
        return int(value)

    def member(self, kind: MemberKind, extents: tuple[Extent, ...] | None = None) -> Member:
        """Return the entry."""
        header, fields = self.header, self._fields
        modified_ns = header.modified_s * 1_000_000_000
        if b"mtime" in fields:
            try:
                modified_ns = pax.time_from(fields[b"mtime"])
            except ValueError as exc:
                raise EnvdError(Code.INVALID_ARGUMENT, f"the archive is damaged: mtime of {self.name}: {exc}") from exc
        is_file = kind is MemberKind.FILE
        linked = kind in (MemberKind.HARD_LINK, MemberKind.SYMLINK)
        return Member(
            self.name,
            kind,
            header.mode & 0o7777,
            self._number(b"uid", header.uid),
            self._number(b"gid", header.gid),
            fields.get(b"uname", header.owner).decode(errors="surrogateescape"),
            fields.get(b"gname", header.group).decode(errors="surrogateescape"),
            min(max(modified_ns, -_MOST_TIME_NS), _MOST_TIME_NS),
            self.size if is_file else 0,
            fields.get(b"linkpath", header.link).decode(errors="surrogateescape") if linked else "",
            self._attributes or NO_ATTRIBUTES,
            extents,
        )
