"""A file or directory that Thurn wants in its state directory; putting it there leaves alone what is right already."""

import grp
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """A rendered file: path relative to the state directory, content, mode, owner as `user:group`."""

    path: str
    text: str
    mode: int = 0o644
    owner: str = "root:root"


@dataclass(frozen=True)
class Directory:
    """A directory: path relative to the state directory, mode, owner as `user:group`."""

    path: str
    mode: int = 0o755
    owner: str = "root:root"


@dataclass(frozen=True)
class Link:
    """A symbolic link: path relative to the state directory, and where it leads."""

    path: str
    target: Path


def ids(owner: str) -> tuple[int, int]:
    """`user:group` as numbers; raises KeyError if this machine knows one of them not."""
    user, _, group = owner.partition(":")
    return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid


def place(state: Path, wanted: Iterable[File | Directory | Link]) -> set[str]:
    """Make them so, parents before children, and return the paths of files whose content changed."""
    changed = set()
    for item in wanted:
        path = state / item.path
        if isinstance(item, Link):
            if not path.is_symlink() or path.readlink() != item.target:
                path.unlink(missing_ok=True)
                path.symlink_to(item.target)
                changed.add(item.path)
            continue
        if isinstance(item, Directory):
            path.mkdir(mode=item.mode, parents=True, exist_ok=True)
        elif not path.exists() or path.read_text() != item.text:
            _replace(path, item.text)
            changed.add(item.path)
        own(path, item.mode, item.owner)
    return changed


def own(path: Path, mode: int, owner: str) -> None:
    """Set mode and owner; does nothing when both are right, so that a second run leaves time stamps alone."""
    uid, gid = ids(owner)
    stat = path.stat()
    if (stat.st_uid, stat.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
    if stat.st_mode & 0o7777 != mode:
        path.chmod(mode)


def _replace(path: Path, text: str) -> None:
    """Swap the content in one step: a daemon that reads meanwhile sees the old file or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    fresh.replace(path)
