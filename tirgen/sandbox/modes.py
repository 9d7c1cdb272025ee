"""The modes of the sandbox, their layers, and what each mode promises.

Strongest first: ``root`` and ``userns`` use every layer, ``bare`` needs neither privilege nor
namespaces (an ordinary pod), ``posix`` is a plain subprocess for machines other than Linux: for
development only, and never chosen unless asked for by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple


class IsolationMode(StrEnum):
    """How snippets are isolated, strongest first."""

    ROOT = "root"
    USERNS = "userns"
    BARE = "bare"
    POSIX = "posix"

    @property
    def strength(self) -> int:
        return -list(IsolationMode).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of isolation on this machine."""

    name: str
    active: bool
    meaning: str
    """What it prevents, or what is possible without it."""


_JAILED = (IsolationMode.ROOT, IsolationMode.USERNS, IsolationMode.BARE)
_NAMESPACED = (IsolationMode.ROOT, IsolationMode.USERNS)

# name, modes that have it, what it does, what is possible without it
_LAYERS: tuple[tuple[str, tuple[IsolationMode, ...], str, str], ...] = (
    (
        "single-use process",
        tuple(IsolationMode),
        "each snippet is a process of its own, killed as a whole",
        "",
    ),
    (
        "resource limits",
        tuple(IsolationMode),
        "memory, CPU, file size and open files are bounded",
        "",
    ),
    (
        "zygote",
        _JAILED,
        "empty environment, no inherited descriptor or memory of this program",
        "every snippet starts its own interpreter: twenty times slower",
    ),
    (
        "seccomp",
        _JAILED,
        "no processes, programs, sockets, signals to others; about 120 system calls",
        "snippets may start processes, open the network and signal your other processes",
    ),
    (
        "landlock",
        _JAILED,
        "no file is readable but the interpreter's own, none writable but the scratch",
        "snippets may read and write whatever your user may",
    ),
    (
        "namespaces",
        _NAMESPACED,
        "no host path, process, network device or shared memory is visible",
        "names and sizes of host files can be seen (not read); seccomp and Landlock stop the rest",
    ),
    (
        "private user",
        (IsolationMode.ROOT,),
        "snippets own no file and no process of the host",
        "snippets run as your user without capabilities; the other layers still protect you",
    ),
)


def layers(mode: IsolationMode, hello: dict[str, Any], why_no_group: str) -> list[Layer]:
    """The layers of a sandbox that is running in `mode`; `hello` is what its zygote found.

    `why_no_group` is empty where a control group contains all zygotes.
    """
    rows = [(name, mode in modes, does, without) for name, modes, does, without in _LAYERS]
    if mode in _JAILED:
        rows += _machine_layers(hello, why_no_group)
    return [
        Layer(name=name, active=active, meaning=does if active else without)
        for name, active, does, without in rows
    ]


def _machine_layers(hello: dict[str, Any], why_no_group: str) -> list[tuple[str, bool, str, str]]:
    """The layers that depend on the machine: name, active, what it does, without it."""
    abi = hello["landlock_abi"]
    return [
        (
            "scratch",
            hello["scratch"],
            "a private 16 MB directory per snippet, gone with it",
            "snippets cannot write any file: point TMPDIR to a directory that may be written",
        ),
        (
            "landlock scopes",
            abi >= 6,
            f"ABI {abi}: TCP, abstract sockets and signals are stopped a second time",
            f"ABI {abi} (Linux 6.12 has 6): sockets and signals are stopped by seccomp alone",
        ),
        (
            "huge pages",
            hello["huge_pages"] > 0,
            "forks are a third cheaper",
            "speed only: Linux 6.1 with transparent huge pages makes forks a third cheaper",
        ),
        (
            "memory of all snippets together",
            not why_no_group,
            "bounded by a cgroup: in the worst case a snippet is killed, not something else",
            f"bounded by slots times the memory limit, not by a cgroup ({why_no_group}): leave "
            "that much room, or set a limit on the container",
        ),
    ]


class Promise(NamedTuple):
    """A row of the table in docs/sandbox.md and `tirgen doctor`: strongest mode first."""

    what: str
    root: str
    userns: str
    bare: str
    posix: str


PROMISES = (
    Promise(
        "works as",
        "root in a VM or a privileged container",
        "ordinary user, CI",
        "unprivileged pod",
        "anything, macOS",
    ),
    Promise("time, CPU and output are bounded", "yes", "yes", "yes", "yes"),
    Promise("waiting for a core counts against no limit", "yes", "yes", "yes", "no"),
    Promise("memory of a snippet is bounded", "yes", "yes", "yes", "Linux only"),
    Promise("nothing outlives its call", "yes", "yes", "yes", "unless it leaves its group"),
    Promise("environment and memory of the program are out of reach", "yes", "yes", "yes", "no"),
    Promise("no process or program is started", "yes", "yes", "yes", "no"),
    Promise("no socket, no network", "yes", "yes", "yes", "no"),
    Promise("no signal or question to another process", "yes", "yes", "yes", "no"),
    Promise("no file is read but the interpreter's own", "yes", "yes", "yes", "no"),
    Promise("no file is written outside the scratch", "yes", "yes", "yes", "no"),
    Promise("names and sizes of host files are unseen", "yes", "yes", "no", "no"),
    Promise("scratch directory", "16 MB, private", "16 MB, private", "16 MB, watched", "no quota"),
    Promise("owns no file and no process of the host", "yes", "inside only", "no", "no"),
    Promise("sessions", "yes", "yes", "no", "no"),
    Promise("holds against defects of the kernel", "no", "no", "no", "no"),
)


def promises_table() -> str:
    """The table in Markdown, as docs/sandbox.md shows it."""
    head = ["promise", *IsolationMode]
    rows = [head, ["--"] * len(head), *PROMISES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
