"""A store on a disk: every change is atomic or an append, and durable when it returns.

A crash leaves at worst a file that nothing refers to.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.places import Aged


class Disk:
    """Files below any folder of a local or mounted file system (see `places.Place`)."""

    def update(self, path: Path, ago: float) -> None:
        """Nothing to do: a file system shows what is there."""

    def present(self, path: Path) -> int | None:
        return path.stat().st_size

    def fetch(self, path: Path) -> None:
        """Nothing to do: the file lies where it is read."""

    def fetch_folder(self, folder: Path) -> None:
        """Nothing to do, likewise."""

    def fetch_again(self, path: Path) -> None:
        """Nothing to do, likewise."""

    def write_atomic(self, path: Path, content: bytes) -> None:
        with temporary_for(path) as temporary:
            temporary.write_bytes(content)
            self.replace(temporary, path)

    def rewrite(self, path: Path, content: bytes) -> bool:
        self.write_atomic(path, content)
        return True

    def note(self, path: Path, content: bytes) -> None:
        self.write_atomic(path, content)

    def changed(self, path: Path) -> None:
        """Nothing to do: others see the file itself."""

    def replace(self, temporary: Path, path: Path) -> None:
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)

    def place_new(self, temporary: Path, path: Path) -> bool:
        sync(temporary)
        try:
            os.link(temporary, path)
            moved = True
        except FileExistsError:
            moved = False
        temporary.unlink()
        sync(path.parent)
        return moved

    def share(self, source: Path, path: Path) -> None:
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            shutil.copyfile(source, path)

    def place_new_folder(self, temporary: Path, path: Path) -> bool:
        for file in temporary.rglob("*"):
            sync(file)
        sync(temporary)
        try:
            os.rename(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            return False
        sync(path.parent)
        return True

    def point_to(self, link: Path, target: str) -> None:
        with temporary_for(link) as temporary:
            temporary.symlink_to(target)
            os.replace(temporary, link)
        sync(link.parent)

    def append_line(self, path: Path, line: str, *, synced: bool) -> None:
        content = f"\n{line}\n".encode()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            written = os.write(descriptor, content)
            if written != len(content):
                raise OSError(f"only {written} of {len(content)} bytes fit into {path}: disk full?")
            if synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync(path.parent)

    def remove_folder(self, path: Path) -> None:
        if not path.is_dir():
            return
        with temporary_for(path) as temporary:  # readers lose all of it at once
            os.rename(path, temporary)
            sync(path.parent)

    @contextmanager
    def alone(self, lock: Path) -> Iterator[bool]:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        granted = False
        try:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                granted = True
            yield granted
        finally:
            os.close(descriptor)

    def aged(self, folder: Path) -> Iterator[Aged]:
        os.utime(folder)
        now = folder.stat().st_mtime  # by the clock of the file system
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    age = now - os.lstat(entry.path).st_mtime
                except FileNotFoundError:
                    continue
                yield Aged(Path(entry), age)


def temporary_beside(path: Path) -> Path:
    """A unique name in the same folder that no reader's pattern matches."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@contextmanager
def temporary_for(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; at the end, what is still there under it is removed."""
    temporary = temporary_beside(path)
    try:
        yield temporary
    finally:
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Create the folder and its parents durably."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the file, or the entries of the folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
