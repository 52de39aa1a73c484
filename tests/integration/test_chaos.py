"""`make chaos`, a short one: nobody gets a wrong byte, and nothing is left over."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.daemon import ROOT


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_is_wrong_and_nothing_left():
    command = [sys.executable, "-m", "tests.chaos", "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
