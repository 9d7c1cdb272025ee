"""Starts a program in several processes, of this machine or of several machines.

    python -m trainer.launch PROCESSES -m trainer.job JOB.json
    python -m trainer.launch --machines 2 --meet HOST:PORT PROCESSES -m trainer.job JOB.json

torchrun by itself listens on two ports of every network interface, and whoever reaches one can run
code in it (it unpickles what it gets). On one machine its rendezvous and the processes' own meeting
are therefore files in a folder that only this user can enter, and what gloo and NCCL open is bound
to loopback.

With `--machines` the same command runs on each of them; HOST:PORT is on one, which must be
reachable by the others, and by nobody else. gloo and NCCL use the interface that leads there. All
machines see the store and the job's file under the same paths. If a machine is lost, the processes
of the others end, wait for it to run the command again, and go on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import psutil

FOLDER: Final = "TIRGEN_RENDEZVOUS"
"""Environment variable with the folder through which the processes meet."""
_LOOPBACK: Final = "lo0" if sys.platform == "darwin" else "lo"
RESTARTS: Final = 10
"""How often the processes of a training on several machines are started again."""
PATIENCE_SECONDS: Final = 3600
"""How long a machine waits for the others, at the start and after one was lost."""


def _bound_to(interface: str) -> dict[str, str]:
    """Environment in which gloo and NCCL use one network interface only."""
    return {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}


OWN_STORE: Final = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Environment in which the processes meet anew after each restart, not in torchrun's own store. In
that one a machine that comes back waits in vain: the others keep the address of the last meeting
(torch 2.13)."""
NO_PORTS: Final = {**OWN_STORE, **_bound_to(_LOOPBACK)}
"""Environment in which torch opens no port of its own, and gloo and NCCL use loopback."""


class Meeting(NamedTuple):
    """Where the machines of a training meet."""

    machines: int
    host: str
    port: int

    @classmethod
    def parse(cls, machines: int, endpoint: str) -> Meeting:
        """From HOST:PORT. Raises ValueError."""
        host, _, port = endpoint.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError(f"--meet {endpoint}: expected HOST:PORT, the same on every machine")
        if machines < 2:
            raise ValueError(f"--machines {machines}: --meet is for two or more")
        return cls(machines, host.strip("[]"), int(port))

    def is_here(self) -> bool:
        """This machine has the address. Raises OSError where there is no way to it."""
        return self._own_place()[0] == self._address()

    @property
    def options(self) -> list[str]:
        """Those of this module's command."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return ["--machines", str(self.machines), "--meet", f"{host}:{self.port}"]

    def arguments(self, program: Sequence[str]) -> list[str]:
        """Those of torchrun; sets the interface that gloo and NCCL use. Raises OSError."""
        address, interface = self._own_place()
        os.environ.update(OWN_STORE, **_bound_to(interface))
        here = str(address == self._address()).lower()
        settings = f"is_host={here},join_timeout={PATIENCE_SECONDS}"
        return [
            f"--nnodes={self.machines}",
            f"--max-restarts={RESTARTS}",
            f"--rdzv-endpoint={self.host}:{self.port}",
            f"--rdzv-id={hashlib.sha256(repr(program).encode()).hexdigest()[:16]}",
            f"--rdzv-conf={settings}",
            f"--local-addr={address}",
        ]

    def _own_place(self) -> tuple[str, str]:
        """This machine's address on the way to the meeting, and the interface that has it."""
        family, kind, protocol, _, place = self._resolved()
        with socket.socket(family, kind, protocol) as way:
            way.connect(place)  # of datagrams: sends nothing, but chooses a route
            address: str = way.getsockname()[0]
        for interface, found in psutil.net_if_addrs().items():
            if any(one.address.partition("%")[0] == address for one in found):
                return address, interface
        raise OSError(f"no interface of this machine has the address {address}")

    def _address(self) -> str:
        return str(self._resolved()[4][0])

    def _resolved(self) -> tuple[int, int, int, str, tuple[str | int, ...]]:
        return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]  # type: ignore[return-value]


def launch(processes: int, program: list[str], meeting: Meeting | None = None) -> None:
    """Run the program under torchrun to its end, in so many processes of this machine.

    Raises `ChildFailedError` of torch where a process fails, and OSError where there is no way to
    the meeting.
    """
    from torch.distributed.run import main

    with TemporaryDirectory(prefix="tirgen-rendezvous-") as folder:
        if meeting is None:
            os.environ.update(NO_PORTS, **{FOLDER: folder})
            arguments = ["--nnodes=1", f"--rdzv-endpoint={Path(folder) / 'agents'}"]
            arguments += ["--rdzv-conf=store_type=file", f"--rdzv-id={os.getpid()}"]
        else:
            arguments = meeting.arguments(program)
        main([*arguments, "--rdzv-backend=c10d", f"--nproc-per-node={processes}", *program])


def _main() -> None:
    parser = argparse.ArgumentParser("python -m trainer.launch", allow_abbrev=False)
    parser.add_argument("--machines", type=int, default=1, help="that run this command")
    parser.add_argument("--meet", metavar="HOST:PORT", help="where the machines meet")
    parser.add_argument("processes", type=int, help="on this machine, one for each GPU")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="-m MODULE or FILE, and more")
    known = parser.parse_args()
    if (known.machines > 1) != (known.meet is not None):
        parser.error("--machines and --meet belong together")
    try:
        meeting = Meeting.parse(known.machines, known.meet) if known.meet else None
    except ValueError as error:
        parser.error(str(error))
    launch(known.processes, known.program, meeting)


if __name__ == "__main__":
    _main()
