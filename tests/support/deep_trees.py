"""Trees whose paths are longer than the kernel takes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NAME = "d" * 200


def make_deep(top: Path, levels: int, *, file: str = "", name: str = NAME) -> None:
    """Make directories within each other, and in the lowest one a file that says `deep`."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(levels):
            os.mkdir(name, dir_fd=fd)
            fd = _moved(fd, name)
        if file:
            below = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(below, b"deep\n")
            os.close(below)
    finally:
        os.close(fd)


def depth_of(top: Path, *, file: str = "", name: str = NAME) -> int:
    """Count the directories within each other; -1 if the file in the lowest one is missing or says something else."""
    fd, levels = os.open(top, os.O_RDONLY | os.O_DIRECTORY), 0
    try:
        with suppress(FileNotFoundError):
            while True:
                fd = _moved(fd, name)
                levels += 1
        if file:
            try:
                below = os.open(file, os.O_RDONLY, dir_fd=fd)
            except FileNotFoundError:
                return -1
            found = os.read(below, 100)
            os.close(below)
            return levels if found == b"deep\n" else -1
        return levels
    finally:
        os.close(fd)


def remove_deep(top: Path, *, name: str = NAME) -> None:
    """Remove what `make_deep` made, for tools that work with paths cannot."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        levels = 0
        with suppress(FileNotFoundError):
            while True:
                fd = _moved(fd, name)
                levels += 1
        for at in range(levels + 1):
            for left in os.listdir(fd):
                if at and left == name:
                    os.rmdir(left, dir_fd=fd)
                elif not os.path.isdir(f"/proc/self/fd/{fd}/{left}"):
                    os.unlink(left, dir_fd=fd)
            if at < levels:
                fd = _moved(fd, "..")
    finally:
        os.close(fd)


def _moved(fd: int, name: str) -> int:
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    os.close(fd)
    return below
