"""WriteFile: everything a Write of a whole content does, in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance import test_filesystem_transfer as transfer
from tests.support.filesystem import Files, WholeFiles
from tests.support.wires import RpcError, Wire

file = transfer.file

# The tests of Write, with the fixtures of this module.
for _name in (
    "test_a_file_is_written_from_its_pieces",
    "test_the_options_alone_write_an_empty_file",
    "test_a_mode_is_set_whatever_the_umask",
    "test_parents_are_made_unless_they_must_be_there",
    "test_links_are_followed",
    "test_content_is_appended",
    "test_a_file_with_several_names_keeps_them",
    "test_in_place_means_the_same_inode",
    "test_a_condition_that_does_not_hold_changes_nothing",
    "test_of_two_writers_with_the_same_condition_one_wins",
    "test_metadata_is_replaced_also_by_none",
    "test_metadata_that_cannot_be_kept_is_invalid",
    "test_other_content_than_announced_is_refused",
    "test_content_and_name_are_put_on_the_disk",
    "test_options_that_contradict_are_invalid",
    "test_what_holds_no_content_is_not_written",
    "test_a_device_is_written_and_stays_whose_it_is",
):
    globals()[_name] = getattr(transfer, _name)


@pytest.fixture
def files(wire: Wire) -> Files:
    return WholeFiles(wire)


async def test_a_content_that_does_not_fit_changes_nothing(files: Files, file: Path):
    with pytest.raises(RpcError) as refused:
        await files.write(file, bytes(5 * 1024 * 1024))
    assert refused.value.code == "resource_exhausted"
    assert file.read_bytes() == b"old content"
