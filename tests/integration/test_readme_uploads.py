"""What the README says to type for large files, typed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.test_readme_files import ROOT, programs, typed
from tests.support.daemon import running_daemon

__all__ = ["programs"]  # a fixture: skips without curl and its like


async def test_every_line_does_what_it_says(tmp_path: Path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^### Large files, in parts\n.*?```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    async with running_daemon() as daemon:
        script = found[1].replace("127.0.0.1:49983", daemon.address).replace("/tmp/", f"{tmp_path}/")
        printed = typed(script)
    assert '"received":[{"offset":0,"length":8000000},{"offset":16000000,"length":4000000}]' in printed
    assert (tmp_path / "up" / "large").read_bytes() == (tmp_path / "large").read_bytes()
    assert not list(tmp_path.rglob(".envd-*"))
