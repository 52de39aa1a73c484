"""Run the Connect project's conformance suite against our transports: `make conformance`.

Arguments go to the runner: `--run 'Basic/**'` for some cases, `--trace` for the bytes of those that fail.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conformance.connect_suite.contract import RUNNER, compile_contract
from tests.support.tools import UnavailableError

HERE = Path(__file__).parent
CONFIG = HERE / "config.yaml"
KNOWN_FAILING = HERE / "known_failing.txt"
SKIPPED = HERE / "skipped.txt"
ROOT = HERE.parents[2]
_NOT_RUN = "# not run: "


def command(*arguments: str) -> list[str]:
    """Return the command line that runs the suite from the repository's root; what it needs is installed now.

    Raises:
        UnavailableError: Go, its module proxy or grpcio-tools cannot be had.
    """
    runner = RUNNER.install()
    compile_contract()
    own = ["--mode", "server", "--conf", str(CONFIG), "--known-failing", f"@{KNOWN_FAILING}", "--skip", f"@{SKIPPED}"]
    return [str(runner), *own, *arguments, "--", sys.executable, "-m", "tests.conformance.connect_suite.server"]


def not_run() -> list[str]:
    """Return what the configuration leaves out, with the reasons."""
    lines = (line.strip() for line in CONFIG.read_text().splitlines())
    return [line.removeprefix(_NOT_RUN) for line in lines if line.startswith(_NOT_RUN)]


def main() -> int:
    try:
        line = command("-v", *sys.argv[1:])
    except UnavailableError as exc:
        print(f"conformance: SKIPPED, nothing was checked: {exc}")
        return 0
    status = subprocess.run(line, cwd=ROOT, check=False).returncode
    print("\nNot run:", *not_run(), sep="\n  ")
    for path in (SKIPPED, KNOWN_FAILING):
        print(f"\n{path.read_text().strip()}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
