"""The scratch directory of a snippet in the mode that mounts no private file system (`bare`).

It is an ordinary directory, which Landlock opens to its own snippet alone. Its size is checked at
intervals while the snippet runs, so for some hundredths of a second there may be more in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile

from tirgen.sandbox import kernel
from tirgen.sandbox.jail.limits import SCRATCH_BYTES, SCRATCH_ENTRIES

MOST_WRITTEN = 64 << 20
"""Bytes written in all, or held in deleted files."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratches:
    """The scratch directories of one zygote's snippets."""

    def __init__(self) -> None:
        """Raises OSError where no directory can be written, or its size not be checked."""
        kernel.written_bytes(os.getpid())
        self._root = tempfile.mkdtemp(prefix="tirgen-scratch-")
        self._count = 0

    def new(self) -> Scratch:
        """Raises OSError."""
        self._count += 1
        path = f"{self._root}/{self._count}"
        os.mkdir(path, 0o700)
        return Scratch(path)

    def close(self) -> None:
        """Remove what is left."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._root):
                Scratch(f"{self._root}/{name}").remove()
        shutil.rmtree(self._root, ignore_errors=True)


class Scratch:
    """One snippet's directory."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> int:
        """A descriptor through which the snippet enters it."""
        return os.open(self._path, _DIRECTORY)

    def is_over(self, pid: int) -> bool:
        """Whether the snippet with this pid has written more than it may."""
        try:
            written = kernel.written_bytes(pid) + kernel.deleted_file_bytes(pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return written > MOST_WRITTEN or self._is_full()

    def _is_full(self) -> bool:
        total, entries = 0, 0
        todo = [self._path]
        while todo:
            try:
                with os.scandir(todo.pop()) as found:
                    for entry in found:
                        known = entry.stat(follow_symlinks=False)
                        total, entries = total + known.st_blocks * 512, entries + 1
                        if total > SCRATCH_BYTES or entries > SCRATCH_ENTRIES:
                            return True
                        if stat.S_ISDIR(known.st_mode):
                            todo.append(entry.path)
            except FileNotFoundError:
                continue  # the snippet has just removed it
            except OSError:  # made unreadable, or nested deeper than a path can be
                return True
        return False

    def remove(self) -> None:
        """Remove it with everything in it, however deep; its snippet has ended."""
        with contextlib.suppress(OSError):
            top = self.open()
            try:
                number = 0
                while names := os.listdir(top):
                    for name in names:
                        number = _flatten(top, name, number)
            finally:
                os.close(top)
            os.rmdir(self._path)


def _flatten(top: int, name: str, number: int) -> int:
    """Remove one entry of `top`; the directories in it become entries of `top`."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return number
    os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for child in os.listdir(inner):
            number += 1
            os.rename(child, f".{number}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
    return number
