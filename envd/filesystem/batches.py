"""Cuts listings into batches and pages."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace

from .entries import Entry
from .listing import Listing, walk
from .page_token import token_for

_BATCH = 1000
_LARGEST_BATCH = 10_000
_BATCH_BYTES = 1024 * 1024
_ENTRY_BYTES = 200  # what an entry comes to beside its texts


@dataclass(slots=True)
class Batch:
    """A portion of a listing.

    Attributes:
        unreadable: directories given up since the batch before, by path and errno.
        next_page: in the last batch of a page, if there are more: the token of the next one.
    """

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[tuple[str, int]] = field(default_factory=list)
    next_page: str = ""


def batches(listing: Listing, batch_size: int, page_size: int) -> Generator[Batch, None, None]:
    """Yield a listing, or one page of it, in portions of bounded size. Blocks; close it when done.

    Args:
        listing: its `unreadable` is ours to set.
        batch_size: entries in one batch; 0: 1000. Fewer if they are large.
        page_size: entries altogether; 0: all.

    Raises:
        EnvdError: the directory cannot be read.
    """
    size = min(batch_size or _BATCH, _LARGEST_BATCH)
    batch, weight, count = Batch(), 0, 0
    with closing(walk(replace(listing, unreadable=lambda *failure: batch.unreadable.append(failure)))) as entries:
        last = ""
        for entry in entries:
            if page_size and count == page_size:
                batch.next_page = token_for(last, listing.shown, listing.depth)
                break
            if len(batch.entries) >= size or weight >= _BATCH_BYTES:
                yield batch
                batch, weight = Batch(), 0
            batch.entries.append(entry)
            weight += _weight(entry)
            count += 1
            last = entry.path
    if batch.entries or batch.unreadable:
        yield batch


def _weight(entry: Entry) -> int:
    link = entry.link
    texts = itertools.chain(entry.metadata.keys(), entry.metadata.values())
    of_link = len(link.text) + len(link.leads_to) if link is not None else 0
    return _ENTRY_BYTES + 2 * len(entry.path) + of_link + sum(map(len, texts))
