"""Making, moving and linking entries."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from envd.errors import Code, EnvdError, from_os_error
from envd.host.users import User

from .access import open_parent
from .copying import Named, copy_whole
from .directories import make_directories, make_parents, remove_directories
from .removal import remove_tree_in
from .temporary import Temporaries, hidden_beside


def make_directory(path: str, owner: User) -> None:
    """Make a directory and the missing ones above it, mode 0755. Blocks.

    Raises:
        EnvdError: ALREADY_EXISTS if it is there, INVALID_ARGUMENT if something else is.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        made = make_directories(path, owner)
        if not made:
            raise EnvdError(Code.ALREADY_EXISTS, f"directory already exists: {path}") from None
        return
    except OSError as exc:
        raise from_os_error(exc, doing=f"error getting file info: stat {path}") from exc
    if stat.S_ISDIR(found.st_mode):
        raise EnvdError(Code.ALREADY_EXISTS, f"directory already exists: {path}")
    raise EnvdError(Code.INVALID_ARGUMENT, f"path already exists but it is not a directory: {path}")


def move(source: str, destination: str, owner: User, temporaries: Temporaries) -> None:
    """Give an entry another path, making the directories above it; also from one file system to another. Blocks.

    Between file systems the copy is complete before it takes its place, and only then is the source removed.

    Raises:
        EnvdError: NOT_FOUND if there is no source, ALREADY_EXISTS if the destination is a directory. Directories made
            for it are gone then.
    """
    attempt = f"rename {source} {destination}"
    made: tuple[str, ...] = ()
    try:
        moved = os.stat(source, follow_symlinks=False)
        _refuse_directory(destination, moved, attempt)
        made = make_parents(destination, owner)
        try:
            os.rename(source, destination)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            _move_across(source, destination, temporaries)
    except FileNotFoundError as exc:
        remove_directories(made)
        raise EnvdError(Code.NOT_FOUND, f"source file not found: {attempt}: no such file or directory") from exc
    except OSError as exc:
        remove_directories(made)
        raise from_os_error(exc, doing=f"error renaming: {attempt}") from exc
    except EnvdError:
        remove_directories(made)
        raise


def _refuse_directory(destination: str, moved: os.stat_result, attempt: str) -> None:
    """Refuse what rename(2) would do with an empty directory: replace it."""
    try:
        there = os.stat(destination, follow_symlinks=False)
    except OSError:
        return  # whatever it is, making the directories above or the rename says it
    if stat.S_ISDIR(there.st_mode):
        raise EnvdError(Code.ALREADY_EXISTS, f"error renaming: {attempt}: file exists")
    if stat.S_ISDIR(moved.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"error renaming: {attempt}: not a directory")


def _move_across(source: str, destination: str, temporaries: Temporaries) -> None:
    with contextlib.ExitStack() as held:
        from_directory, name = open_parent(source)
        held.callback(os.close, from_directory)
        to_directory, new_name = open_parent(destination)
        held.callback(os.close, to_directory)
        copy_whole(Named(from_directory, name), Named(to_directory, new_name), temporaries)
        try:
            remove_tree_in(from_directory, name)
        except OSError as exc:
            what = f"{destination} is complete, but removing {source} from where it was"
            raise from_os_error(exc, doing=what) from exc


def make_symlink(path: str, target: str, owner: User, temporaries: Temporaries, *, overwrite: bool) -> None:
    """Make a symbolic link, and the missing directories above it. Blocks.

    Raises:
        EnvdError: ALREADY_EXISTS if something is there, with `overwrite` only if that is a directory.
    """
    if not target or "\0" in target:
        raise EnvdError(Code.INVALID_ARGUMENT, "target must be a text without NUL bytes, and not empty")
    made = make_parents(path, owner)
    try:
        try:
            _link(target, path, owner)
        except FileExistsError:
            there = os.stat(path, follow_symlinks=False)
            if not overwrite or stat.S_ISDIR(there.st_mode):
                raise
            _replace_by_link(target, path, owner, temporaries)
    except OSError as exc:
        remove_directories(made)
        raise from_os_error(exc, doing=f"make symbolic link {path}") from exc


def _link(target: str, path: str, owner: User) -> None:
    os.symlink(target, path)
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def _replace_by_link(target: str, path: str, owner: User, temporaries: Temporaries) -> None:
    with hidden_beside(path, temporaries) as hidden:
        _link(target, hidden, owner)
        os.rename(hidden, path)
