"""The modes of the sandbox, what each is made of, and what a missing layer means.

Strongest first: ``root`` and ``userns`` use every layer, ``bare`` needs neither privilege nor
namespaces (an ordinary pod), ``posix`` is a plain subprocess for machines without Linux's means:
development only, and never chosen unless asked for by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How snippets are confined, strongest first."""

    ROOT = "root"
    USERNS = "userns"
    BARE = "bare"
    POSIX = "posix"

    @property
    def strength(self) -> int:
        return -list(Mode).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of defence as it stands on this machine."""

    name: str
    active: bool
    meaning: str
    """What it holds back, or what its absence leaves open."""


_JAILED = (Mode.ROOT, Mode.USERNS, Mode.BARE)
_NAMESPACED = (Mode.ROOT, Mode.USERNS)

# name, modes that have it, what it does, what its absence means
_LAYERS: tuple[tuple[str, tuple[Mode, ...], str, str], ...] = (
    (
        "single-use process",
        tuple(Mode),
        "each snippet is a process of its own, killed as a whole",
        "",
    ),
    (
        "resource limits",
        tuple(Mode),
        "memory, CPU, file size and open files are bounded",
        "",
    ),
    (
        "zygote",
        _JAILED,
        "empty environment, no inherited descriptor or memory of the program around it",
        "every snippet starts an interpreter of its own: twenty times slower",
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
        "names and sizes of host files can be seen (not read); seccomp and Landlock hold the rest",
    ),
    (
        "private user",
        (Mode.ROOT,),
        "snippets own no file and no process of the host",
        "snippets run as your user without capabilities; the other layers hold it back",
    ),
)


def layers(mode: Mode, hello: dict[str, Any], why_no_group: str) -> list[Layer]:
    """The layers of a sandbox that is running in `mode`; `hello` is what its zygote found.

    `why_no_group` is empty where a control group is around all of it.
    """
    report = [
        Layer(name=name, active=mode in modes, meaning=does if mode in modes else missing)
        for name, modes, does, missing in _LAYERS
    ]
    if mode in _JAILED:
        report += [_scratch_layer(hello), *_kernel_layers(hello), _group_layer(why_no_group)]
    return report


def _scratch_layer(hello: dict[str, Any]) -> Layer:
    return Layer(
        name="scratch",
        active=hello["scratch"],
        meaning="a private 16 MB directory per snippet, gone with it"
        if hello["scratch"]
        else "snippets cannot write any file: point TMPDIR to a directory that may be written",
    )


def _kernel_layers(hello: dict[str, Any]) -> list[Layer]:
    abi = hello["landlock_abi"]
    return [
        Layer(
            name="landlock scopes",
            active=abi >= 6,
            meaning=f"ABI {abi}: TCP, abstract sockets and signals held a second time"
            if abi >= 6
            else f"ABI {abi} (Linux 6.12 has 6): sockets and signals are held by seccomp alone",
        ),
        Layer(
            name="huge pages",
            active=hello["huge_pages"] > 0,
            meaning="forks are a third cheaper"
            if hello["huge_pages"]
            else "speed only: Linux 6.1 with transparent huge pages makes forks a third cheaper",
        ),
    ]


def _group_layer(why_not: str) -> Layer:
    return Layer(
        name="memory of all snippets together",
        active=not why_not,
        meaning="bounded by slots times the memory limit, not by a cgroup "
        f"({why_not}): leave that much room, or set a limit on the container"
        if why_not
        else "bounded by a cgroup: at the worst one of them ends, not the machine",
    )
