"""A control group around all zygotes, where cgroup v2 is delegated: it bounds their memory.

The limits of one snippet are rlimits. The group bounds their sum, so if many snippets together use
too much memory, one of them is killed and not something else on the machine. Not covered: cgroup
v1, and a group shared with other programs, which version 2 does not let us divide. The group is
optional; without it the layer is reported as missing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NEEDED = ("memory", "pids")
SHARE = 0.8
"""Of the memory this process may use."""
PIDS = 4096
_ASIDE = "tirgen-supervisor"
"""The group this process moves to: a group with controllers for its children may hold none."""
_numbers = itertools.count(1)


class NotDelegated(Exception):
    """No cgroup v2 subtree may be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One directory of the hierarchy; `close` removes it once its processes have ended."""

    path: Path

    @classmethod
    def create(cls, subtree: Path, limits: dict[str, int]) -> Self:
        """Raises OSError where the kernel refuses."""
        path = subtree / f"tirgen-sandbox-{os.getpid()}-{next(_numbers)}"
        path.mkdir()
        for name, value in limits.items():
            (path / name).write_text(str(value))
        return cls(path)

    def adopt(self, pid: int) -> None:
        """Move a process in; what it forks later is in it too."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # busy for as long as a zombie is in it
            self.path.rmdir()


def open_group() -> Cgroup:
    """A group with the limits, in the part of the hierarchy that is delegated to this process.

    Raises:
        NotDelegated: with the reason.
    """
    subtree = own_subtree(Path("/proc"))
    limits = {
        "memory.max": int(SHARE * _memory_of(subtree)),
        "memory.swap.max": 0,
        "pids.max": PIDS,
    }
    try:
        _enable(subtree)
        return Cgroup.create(subtree, limits)
    except OSError as error:
        raise NotDelegated(f"{subtree}: {error.strerror}") from error


def own_subtree(proc: Path) -> Path:
    """The directory of the group of this process, if it has the controllers.

    Raises:
        NotDelegated: there is no version 2, no right to write, or a controller is missing.
    """
    mounts = [line.split() for line in (proc / "self/mounts").read_text().splitlines()]
    roots = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    lines = (proc / "self/cgroup").read_text().splitlines()
    ours = [
        line.removeprefix("0::").removesuffix(f"/{_ASIDE}")
        for line in lines
        if line.startswith("0::")
    ]
    if not roots or not ours:
        raise NotDelegated("no cgroup v2 is mounted")
    subtree = Path(roots[0] + ours[0])
    try:
        controllers = (subtree / "cgroup.controllers").read_text().split()
    except OSError as error:
        raise NotDelegated(f"{subtree}: {error.strerror}") from error
    if missing := [name for name in NEEDED if name not in controllers]:
        raise NotDelegated(f"{subtree} has no {' and no '.join(missing)} controller")
    if not os.access(subtree / "cgroup.procs", os.W_OK):
        raise NotDelegated(f"{subtree} may not be written")
    return subtree


def _enable(subtree: Path) -> None:
    """Give the controllers to the groups below, after leaving this one."""
    control = subtree / "cgroup.subtree_control"
    if set(NEEDED) <= set(control.read_text().split()):
        return
    members = (subtree / "cgroup.procs").read_text().split()
    if set(members) - {str(os.getpid())}:
        raise NotDelegated(
            f"other processes share {subtree}; start this one with "
            "`systemd-run --user --scope -p Delegate=yes`"
        )
    aside = subtree / _ASIDE
    aside.mkdir(exist_ok=True)
    (aside / "cgroup.procs").write_text(str(os.getpid()))
    control.write_text(" ".join(f"+{name}" for name in NEEDED))


def _memory_of(subtree: Path) -> int:
    """Bytes this group may use."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = (subtree / "memory.max").read_text().strip()
    except OSError:  # the root group has none
        return machine
    return machine if allowed == "max" else min(machine, int(allowed))
