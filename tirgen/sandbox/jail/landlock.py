"""Landlock: only files of the interpreter may be read, and only the scratch be written.

It needs neither root nor namespaces (Linux 5.13). From ABI 4 on it also refuses TCP, from ABI 6 on
abstract unix sockets and signals to processes outside. Not covered: stat and readlink of any path,
which only the mount namespace hides.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from tirgen.sandbox.jail import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture

# The rights of linux/landlock.h. Those not named here (device files, sockets, FIFOs, ioctl on
# devices) are never granted, so they are always refused.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in range(6))
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # moving files between directories; cutting files
_FILE_ACCESS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_DIR
_SCRATCH = (
    _READ | _WRITE_FILE | _TRUNCATE | _REFER
    | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
)  # fmt: skip


def abi() -> int:
    """The kernel's version of Landlock, 0 without Landlock."""
    try:
        return libc.syscall(
            _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1), what="landlock"
        )
    except OSError:
        return 0


def _handled_files(version: int) -> int:
    """Every right this version knows: a right that is handled and not granted is refused."""
    known = {1: 13, 2: 14, 3: 15, 4: 15}
    return (1 << known.get(version, 16)) - 1


def _attributes(version: int) -> bytes:
    fields = [_handled_files(version)]
    if version >= 4:
        fields.append(0b11)  # bind and connect TCP
    if version >= 6:
        fields.append(0b11)  # abstract unix sockets and signals to outside the domain
    return struct.pack(f"={len(fields)}Q", *fields)


def _allow(ruleset: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            access &= _FILE_ACCESS
        rule = struct.pack("=Qi", access, fd)
        libc.syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(1),
            ctypes.create_string_buffer(rule, len(rule)),
            ctypes.c_uint32(0),
            what=f"landlock rule for {path}",
        )
    finally:
        os.close(fd)


def ruleset(
    readable: Iterable[str], scratch: Iterable[str] = (), writable: Iterable[str] = ()
) -> int:
    """A ruleset descriptor, which any number of children can apply to themselves.

    Raises:
        OSError: this kernel has no Landlock, or it is switched off.
    """
    version = abi()
    if not version:
        raise OSError("Landlock is missing: Linux 5.13 or later with lsm=landlock is needed")
    attributes = _attributes(version)
    fd = libc.syscall(
        _CREATE_RULESET,
        ctypes.create_string_buffer(attributes, len(attributes)),
        ctypes.c_size_t(len(attributes)),
        ctypes.c_uint32(0),
        what="landlock ruleset",
    )
    for path in readable:
        if os.path.exists(path):
            _allow(fd, path, _READ)
    for path in writable:
        _allow(fd, path, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & _handled_files(version))
    for path in scratch:
        _allow(fd, path, _SCRATCH & _handled_files(version))
    return fd


def restrict(ruleset_fd: int) -> None:
    """Apply the ruleset to this process and its threads; needs no_new_privs."""
    libc.syscall(
        _RESTRICT_SELF, ctypes.c_int(ruleset_fd), ctypes.c_uint32(0), what="landlock restrict"
    )
