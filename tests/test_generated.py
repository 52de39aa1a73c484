"""The committed stubs are what the contract gives."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GRPCIO_TOOLS = "1.85.1"
MODULES = [f"envd_proto.{name}.{name}_pb2" for name in ("filesystem", "process", "pty", "system")]


def missing_tools() -> str | None:
    try:
        found = importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    return None if found == GRPCIO_TOOLS else f"needs grpcio-tools=={GRPCIO_TOOLS}, found {found}"


needs_tools = pytest.mark.skipif(missing_tools() is not None, reason=missing_tools() or "")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@needs_tools
def test_committed_stubs_are_up_to_date():
    done = run("scripts/gen", "--check")
    assert done.returncode == 0, done.stderr


@needs_tools
@pytest.mark.parametrize("harm", ["changed", "missing", "left over"])
def test_the_check_names_the_file_that_differs(tmp_path, harm):
    assert run("scripts/gen", "--out", str(tmp_path)).returncode == 0
    victim = "envd_proto/pty/pty_pb2.pyi"
    if harm == "changed":
        (tmp_path / victim).write_text("# edited by hand\n")
    elif harm == "missing":
        (tmp_path / victim).unlink()
    else:
        victim = "envd_proto/pty/old_pb2.py"
        (tmp_path / victim).write_text("")
    done = run("scripts/gen", "--check", "--out", str(tmp_path))
    assert done.returncode == 1
    assert victim in done.stderr


needs_ruff = pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="needs ruff")


@needs_ruff
def test_the_blocking_half_of_the_sdk_is_up_to_date():
    done = run("scripts/unasync", "--check")
    assert done.returncode == 0, done.stderr


@needs_ruff
@pytest.mark.parametrize("harm", ["changed", "missing", "left over"])
def test_the_check_names_the_module_that_differs(tmp_path, harm):
    assert run("scripts/unasync", "--out", str(tmp_path)).returncode == 0
    victim = "envd_sdk/_sync/commands.py"
    if harm == "changed":
        (tmp_path / victim).write_text("# edited by hand\n")
    elif harm == "missing":
        (tmp_path / victim).unlink()
    else:
        victim = "envd_sdk/_sync/old.py"
        (tmp_path / victim).write_text("")
    done = run("scripts/unasync", "--check", "--out", str(tmp_path))
    assert done.returncode == 1
    assert victim in done.stderr


def test_the_messages_need_no_grpc():
    imports = "\n".join(f"import {module}" for module in MODULES)
    done = run("-W", "error", "-c", f"import sys\nsys.modules['grpc'] = None\n{imports}")
    assert done.returncode == 0, done.stderr
