"""Namespaces: the zygote sees the interpreter, read-only, and nothing else of the machine.

Once per zygote: a mount, pid, net, ipc and uts namespace (in `userns` also a user namespace), and a
root that is a small tmpfs with the interpreter's directories bound into it read-only; no /proc, no
/sys, no host path. Once per snippet: its own pid namespace and a private tmpfs as scratch.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterable

from tirgen.sandbox.jail import libc
from tirgen.sandbox.jail.limits import SCRATCH_BYTES, SCRATCH_ENTRIES
from tirgen.sandbox.jail.syscalls import number

SCRATCH = "/jail/scratch"
SCRATCH_PARENT = "/jail"
"""Landlock's rule is for this directory: it then holds for each scratch mounted below it."""
SCRATCH_OPTIONS = f"size={SCRATCH_BYTES},nr_inodes={SCRATCH_ENTRIES},mode=1777"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
PRIVATE_ID = 64_123
"""User and group of every snippet: it owns no file and no other process of the host."""

_ISOLATED = libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS
_STAGING = "/tmp"
"""Any existing directory: it is covered inside our mount namespace, and unchanged outside."""


def enter(user_namespace: bool, before_fork: Callable[[], None]) -> None:
    """Move this process into new namespaces; returns in a child that is their pid 1.

    The pid 1 can give each snippet a new pid namespace, and when it dies the kernel ends every
    process inside. The calling process stays outside, only to pass on the exit status.
    """
    user, group = os.getuid(), os.getgid()
    flags = _ISOLATED | libc.CLONE_NEWPID
    libc.unshare(flags | libc.CLONE_NEWUSER if user_namespace else flags)
    if user_namespace:
        _map_identity(user, group)
    pid = os.fork()
    if pid:
        before_fork()
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.sethostname(b"sandbox")


def _map_identity(user: int, group: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{PRIVATE_ID} {user} 1"),
        ("gid_map", f"{PRIVATE_ID} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def change_root(readable: Iterable[str]) -> None:
    """Make a read-only root that holds `readable`, three devices and the scratch mount point."""
    libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)
    paths = [path for path in (*readable, *DEVICES) if os.path.exists(path)]
    sources = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in paths]
    libc.mount("tmpfs", _STAGING, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "size=1m,mode=755")
    os.umask(0o022)
    for path, fd in sources:
        _bind(path, fd)
        os.close(fd)
    for directory in ("/old", SCRATCH):
        os.makedirs(_STAGING + directory)
    _pivot()
    flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV
    libc.mount("none", "/", None, flags)


def _bind(path: str, fd: int) -> None:
    target = _STAGING + path
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    libc.mount(f"/proc/self/fd/{fd}", target, None, libc.MS_BIND | libc.MS_REC)
    if path in DEVICES:
        return
    # a user namespace may not remove the flags of the outer mount, so they are repeated
    locked = os.statvfs(target).f_flag & (libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)
    flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY | libc.MS_NOSUID
    libc.mount("none", target, None, flags | locked)


def _pivot() -> None:
    os.chdir(_STAGING)
    libc.syscall(number("pivot_root"), b".", b"old", what="pivot_root")
    libc.unmount("/old", libc.MNT_DETACH)
    os.rmdir("/old")
    os.chdir("/")


def mount_scratch() -> None:
    """In a child: a new mount namespace with an empty, size-limited scratch as the cwd."""
    libc.unshare(libc.CLONE_NEWNS)
    flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("tmpfs", SCRATCH, "tmpfs", flags, SCRATCH_OPTIONS)
    os.chdir(SCRATCH)


def become_private_user() -> None:
    """Change from root to an identity that owns nothing."""
    os.setgroups([])
    os.setresgid(PRIVATE_ID, PRIVATE_ID, PRIVATE_ID)
    os.setresuid(PRIVATE_ID, PRIVATE_ID, PRIVATE_ID)
