"""The file-system calls of an actor, each of which stops before it is made (`exploring`).

What this leaves out: a reader opens and reads a file in one call, and what Arrow writes under a
temporary name is there with the call that follows.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import Any
from unittest.mock import patch

from tests.storage.exploring import Call, Killed, current, lock_name, unobserved

_open, _write, _close, _fsync = os.open, os.write, os.close, os.fsync
_flock, _lstat, _readlink = fcntl.flock, os.lstat, os.readlink


class Disk:
    """What was put on the disk with `fsync`, so that no power cut loses it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin again, with an empty disk."""
        self._files: dict[int, tuple[int, int]] = {}
        self._folders: dict[int, frozenset[str]] = {}

    def sync(self, descriptor: int) -> None:
        """Note the state of an open file or folder."""
        found = os.fstat(descriptor)
        if S_ISDIR(found.st_mode):
            self._folders[found.st_ino] = frozenset(os.listdir(descriptor))
        else:
            self._files[found.st_ino] = (found.st_size, found.st_mtime_ns)

    def has(self, path: Path) -> bool:
        """The file or folder as it is now, and its name."""
        found = path.stat()
        if path.is_dir():
            whole = self._folders.get(found.st_ino) == frozenset(os.listdir(path))
        else:
            whole = self._files.get(found.st_ino) == (found.st_size, found.st_mtime_ns)
        return whole and path.name in self._folders.get(path.parent.stat().st_ino, frozenset())

    def has_of(self, path: Path, content: bytes) -> bool:
        """A file to which others append has this content on the disk."""
        size, _ = self._files.get(path.stat().st_ino, (0, 0))
        return content in path.read_bytes()[:size]


disk = Disk()
"""Of the execution that goes on now."""


@contextmanager
def calls_stop() -> Iterator[None]:
    """Calls of actors stop; those of any other thread are what they always are."""
    with ExitStack() as stack:
        for (owner, name), describe in _SIMPLE.items():
            stack.enter_context(
                patch.object(owner, name, _stopping(getattr(owner, name), describe))
            )
        for (owner, name), function in _OTHERS.items():
            stack.enter_context(patch.object(owner, name, function))
        yield


def _stopping(do: Callable[..., Any], describe: Callable[..., Call]) -> Callable[..., Any]:
    def stopping(*args: Any, **kwargs: Any) -> Any:
        actor = current()
        if actor is None:
            return do(*args, **kwargs)
        return actor.make(describe(*args, **kwargs), lambda: do(*args, **kwargs))

    return stopping


def _name(path: Any, folder: int | None = None) -> str:
    """The absolute name of a path, a descriptor, or an entry of an open folder."""
    if isinstance(path, int):
        return _readlink(f"/proc/self/fd/{path}")
    base = os.getcwd() if folder is None else _readlink(f"/proc/self/fd/{folder}")
    return os.path.normpath(os.path.join(base, os.fspath(path)))


def _exists(name: str) -> bool:
    try:
        _lstat(name)
    except OSError:
        return False
    return True


def _changing(what: str, *names: str) -> Call:
    folders = frozenset(os.path.dirname(name) for name in names)
    shown = f"{what} {' '.join(names)}"
    return Call(shown, frozenset(names), frozenset(names), enters=folders)


def _reading(what: str, name: str) -> Call:
    return Call(f"{what} {name}", reads=frozenset([name]))


def _stat(path: Any, *, dir_fd: int | None = None, **_: Any) -> Call:
    return _reading("stat", _name(path, dir_fd))


def _listing(path: Any = ".") -> Call:
    name = _name(path)
    return Call(f"list {name}", frozenset([name]), lists=frozenset([name]))


def _moving(source: Any, target: Any) -> Call:
    return _changing("move", _name(source), _name(target))


def _making(what: str) -> Callable[..., Call]:
    def describe(path: Any, *_: Any, dir_fd: int | None = None, **__: Any) -> Call:
        name = _name(path, dir_fd)
        return _reading(what, name) if _exists(name) else _changing(what, name)

    return describe


def _linking(what: str) -> Callable[..., Call]:
    make = _making(what)
    return lambda source, target, *_, **__: make(target)


def _removing(path: Any, *, dir_fd: int | None = None) -> Call:
    name = _name(path, dir_fd)
    return _changing("remove", name) if _exists(name) else _reading("remove", name)


def _opening(path: Any, mode: str = "r", *_: Any, **__: Any) -> Call:
    name = _name(path)
    return _reading("open", name) if mode in ("r", "rb") else _changing(f"open {mode}", name)


_SIMPLE: dict[tuple[Any, str], Callable[..., Call]] = {
    (os, "stat"): _stat,
    (os, "lstat"): _stat,
    (os, "readlink"): _stat,
    (os, "scandir"): _listing,
    (os, "listdir"): _listing,
    (os, "rename"): _moving,
    (os, "replace"): _moving,
    (os, "link"): _linking("link"),
    (os, "symlink"): _linking("symlink"),
    (os, "mkdir"): _making("mkdir"),
    (os, "unlink"): _removing,
    (os, "rmdir"): _removing,
    (io, "open"): _opening,
}


def _opened(path: Any, flags: int, *args: Any, dir_fd: int | None = None) -> int:
    def do() -> int:
        return _open(path, flags, *args, dir_fd=dir_fd)

    actor = current()
    if actor is None:
        return do()
    name = _name(path, dir_fd)
    makes = flags & os.O_CREAT and not _exists(name)
    found = actor.make(_changing("create", name) if makes else _reading("open", name), do)
    actor.open[found] = name
    return found


def _written(descriptor: int, content: bytes) -> int:
    actor = current()
    if actor is None:
        return _write(descriptor, content)
    name = frozenset([actor.open[descriptor]])
    half = content[: len(content) // 2]
    return actor.make(
        Call(f"write {actor.open[descriptor]}", name, name),
        lambda: _write(descriptor, content),
        half=lambda: _write(descriptor, half),
    )


def _locked(descriptor: int, operation: int) -> None:
    actor = current()
    if actor is None or descriptor not in actor.open:
        _flock(descriptor, operation)
        return

    def is_free() -> bool:
        try:
            _flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _flock(descriptor, fcntl.LOCK_UN)
        return True

    name = frozenset([lock_name(actor.open[descriptor])])
    waits = not operation & fcntl.LOCK_NB
    call = Call("lock", name, name, waits=waits)
    can = is_free if waits else lambda: True
    actor.make(call, lambda: _flock(descriptor, operation), can=can)
    actor.locks.add(descriptor)


def _closed(descriptor: int) -> None:
    actor = current()
    if actor is None:
        _close(descriptor)
        return
    if actor.killed:  # its files are closed
        return
    if descriptor in actor.locks:
        name = frozenset([lock_name(actor.open[descriptor])])
        try:
            actor.make(Call("unlock", name, name, frees=True), lambda: None)
        except Killed:  # perhaps in a finaliser, where it would be reported
            return
        actor.locks.discard(descriptor)
    actor.open.pop(descriptor, None)
    _close(descriptor)


def _synced(descriptor: int) -> None:
    with unobserved():
        disk.sync(descriptor)
    _fsync(descriptor)


_OTHERS: dict[tuple[Any, str], Callable[..., Any]] = {
    (os, "open"): _opened,
    (os, "write"): _written,
    (os, "close"): _closed,
    (os, "fsync"): _synced,
    (fcntl, "flock"): _locked,
}
