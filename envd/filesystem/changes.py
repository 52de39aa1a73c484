"""Makes, moves and links entries."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from functools import partial

from envd.errors import Code, EnvdError, from_os_error
from envd.host.users import User

from .access import (
    Landing,
    acting_as,
    help_instead,
    is_readable,
    open_parent,
    open_path,
    open_trusted_parent,
)
from .copying import Named, copy_whole
from .removal import remove_tree_as
from .writing.directories import make_directories_as, make_parents, parent_of, remove_directories, remove_directories_as
from .writing.temporary import Temporaries, hidden_in


def make_directory(path: str, owner: User, *, helped: bool = False) -> None:
    """Make a directory and the missing ones above it, mode 0755, acting as their owner. Blocks.

    Args:
        path: absolute.
        owner: to whom they belong.
        helped: where the owner may not write and only root has a say, the daemon's own rights help.

    Raises:
        EnvdError: ALREADY_EXISTS if it is there, INVALID_ARGUMENT if something else is.
    """
    try:
        with acting_as(owner):
            fd = open_path(path, os.O_PATH)
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        created = make_directories_as(path, owner, helped=helped)
        if not created:
            raise EnvdError(Code.ALREADY_EXISTS, f"directory already exists: {path}") from None
        return
    except OSError as exc:
        raise from_os_error(exc, doing=f"error getting file info: stat {path}") from exc
    if is_directory:
        raise EnvdError(Code.ALREADY_EXISTS, f"directory already exists: {path}")
    raise EnvdError(Code.INVALID_ARGUMENT, f"path already exists but it is not a directory: {path}")


def move(source: str, destination: str, owner: User, temporaries: Temporaries, *, helped: bool = False) -> None:
    """Give an entry another path, making the directories above it; also from one file system to another. Blocks.

    Between file systems the copy is complete before it takes its place, and only then is the source removed.

    Args:
        source: absolute.
        destination: absolute.
        owner: as whom to act.
        temporaries: are told of the copy.
        helped: where the owner may not write and only root has a say, the daemon's own rights help, within a file
            system.

    Raises:
        EnvdError: NOT_FOUND if there is no source, ALREADY_EXISTS if the destination is a directory. Directories made
            for it are gone then.
    """
    attempt = f"rename {source} {destination}"
    with contextlib.ExitStack() as undo:
        created: list[str] = []
        undo.callback(lambda: remove_directories_as(created, owner, helped=helped))
        try:
            with acting_as(owner):
                _look_at_both(source, destination, attempt)
            created += make_directories_as(parent_of(destination), owner, helped=helped)
            _rename_or_copy(source, destination, owner, temporaries, helped=helped)
        except FileNotFoundError as exc:
            raise EnvdError(Code.NOT_FOUND, f"source file not found: {attempt}: no such file or directory") from exc
        except OSError as exc:
            raise from_os_error(exc, doing=f"error renaming: {attempt}") from exc
        undo.pop_all()


def _look_at_both(source: str, destination: str, attempt: str) -> None:
    fd = open_path(source, os.O_PATH, follow=False)
    try:
        _refuse_directory(destination, os.fstat(fd), attempt)
    finally:
        os.close(fd)


def _rename_or_copy(source: str, destination: str, owner: User, temporaries: Temporaries, *, helped: bool) -> None:
    try:
        with acting_as(owner):
            _rename(source, destination)
    except PermissionError as exc:
        if not helped:
            raise
        help_instead(owner, partial(_help_rename, destination, owner), source, exc)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        with acting_as(owner):
            _copy_across(source, destination, temporaries)
        _remove_moved(source, destination, owner, helped=helped)


def _rename(source: str, destination: str) -> None:
    with contextlib.ExitStack() as descriptors:
        from_directory, name = open_parent(source)
        descriptors.callback(os.close, from_directory)
        to_directory, new_name = open_parent(destination)
        descriptors.callback(os.close, to_directory)
        os.rename(name, new_name, src_dir_fd=from_directory, dst_dir_fd=to_directory)


def _help_rename(destination: str, owner: User, landing: Landing) -> None:
    """Rename what lies where only root has a say to where that is so, too."""
    with contextlib.closing(open_trusted_parent(destination, owner, follow=False)) as target:
        replaced = target.state is not None and not is_readable(target.directory, target.name, owner)
        if replaced or not is_readable(landing.directory, landing.name, owner):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), destination)
        os.rename(landing.name, target.name, src_dir_fd=landing.directory, dst_dir_fd=target.directory)


def _refuse_directory(destination: str, moved: os.stat_result, attempt: str) -> None:
    """Refuse what rename(2) would do with an empty directory: replace it."""
    try:
        fd = open_path(destination, os.O_PATH, follow=False)
    except OSError:
        return  # whatever it is, making the directories above or the rename says it
    existing = os.fstat(fd)
    os.close(fd)
    if stat.S_ISDIR(existing.st_mode):
        raise EnvdError(Code.ALREADY_EXISTS, f"error renaming: {attempt}: file exists")
    if stat.S_ISDIR(moved.st_mode):
        raise EnvdError(Code.INVALID_ARGUMENT, f"error renaming: {attempt}: not a directory")


def _copy_across(source: str, destination: str, temporaries: Temporaries) -> None:
    with contextlib.ExitStack() as descriptors:
        from_directory, name = open_parent(source)
        descriptors.callback(os.close, from_directory)
        to_directory, new_name = open_parent(destination)
        descriptors.callback(os.close, to_directory)
        copy_whole(Named(from_directory, name), Named(to_directory, new_name), temporaries)


def _remove_moved(source: str, destination: str, owner: User, *, helped: bool) -> None:
    try:
        remove_tree_as(source, owner, helped=helped)
    except OSError as exc:
        raise from_os_error(exc, doing=f"{destination} is complete, but removing {source} from where it was") from exc


def make_symlink(path: str, target: str, owner: User, temporaries: Temporaries, *, overwrite: bool) -> None:
    """Make a symbolic link, and the missing directories above it. Blocks.

    Raises:
        EnvdError: ALREADY_EXISTS if something is there, with `overwrite` only if that is a directory.
    """
    if not target or "\0" in target:
        raise EnvdError(Code.INVALID_ARGUMENT, "target must be a text without NUL bytes, and not empty")
    created = make_parents(path, owner)
    try:
        directory, name = open_parent(path)
        try:
            try:
                _link(target, directory, name, owner)
            except FileExistsError:
                existing = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if not overwrite or stat.S_ISDIR(existing.st_mode):
                    raise
                _replace_by_link(target, directory, name, owner, temporaries)
        finally:
            os.close(directory)
    except OSError as exc:
        remove_directories(created)
        raise from_os_error(exc, doing=f"make symbolic link {path}") from exc


def _replace_by_link(target: str, directory: int, name: str, owner: User, temporaries: Temporaries) -> None:
    with hidden_in(directory, temporaries) as (hidden, _):
        _link(target, directory, hidden, owner)
        os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)


def _link(target: str, directory: int, name: str, owner: User) -> None:
    os.symlink(target, name, dir_fd=directory)
    st = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(st.st_mode) and (st.st_uid, st.st_gid) != (owner.uid, owner.gid):
        os.chown(name, owner.uid, owner.gid, dir_fd=directory, follow_symlinks=False)
