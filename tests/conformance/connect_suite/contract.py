"""The suite's own contract, compiled from the sources its Go module brings: nothing of it is kept here."""

from __future__ import annotations

import importlib.resources
import os
import subprocess
import sys
from pathlib import Path

from google.protobuf import any_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.support.tools import CACHE, GoTool

RUNNER = GoTool("connectrpc.com/conformance", "v1.0.7", "cmd/connectconformance")
PACKAGE = "connectrpc.conformance.v1"
DESCRIPTORS = CACHE / f"connectconformance@{RUNNER.version}.binpb"
_SOURCES = ("service", "server_compat")


def compile_contract() -> None:
    """Write the descriptors of the suite's messages and services; needs grpcio-tools and the module's sources."""
    if DESCRIPTORS.exists():
        return
    partial = DESCRIPTORS.with_suffix(f".{os.getpid()}")
    root = RUNNER.sources() / "proto"
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{root}"),
            f"-I{importlib.resources.files('grpc_tools') / '_proto'}",
            f"--descriptor_set_out={partial}",
            *(f"{PACKAGE.replace('.', '/')}/{name}.proto" for name in _SOURCES),
            f"{PACKAGE.replace('.', '/')}/config.proto",
        ],
        check=True,
    )
    partial.rename(DESCRIPTORS)


def load(path: Path = DESCRIPTORS) -> ServiceDescriptor:
    """Make the compiled contract known to this process and return its service."""
    assert any_pb2.DESCRIPTOR  # which the contract imports
    files = {file.name: file for file in FileDescriptorSet.FromString(path.read_bytes()).file}
    for name in sorted(files, key=lambda name: not name.endswith("config.proto")):
        Default().Add(files[name])
    return Default().FindServiceByName(f"{PACKAGE}.ConformanceService")


def message(name: str) -> type[Message]:
    """Return the class of one of its messages."""
    return GetMessageClass(Default().FindMessageTypeByName(f"{PACKAGE}.{name}"))
