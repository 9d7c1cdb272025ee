"""Starts a program in several processes of this machine that meet through files, not ports.

    python -m trainer.launch PROCESSES -m trainer.job JOB.json

torchrun by itself listens on two ports of every network interface, and whoever reaches one can run
code in it (it unpickles what it gets). Here its rendezvous and the processes' own meeting are files
in a folder that only this user can enter, and what gloo and NCCL open is bound to loopback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

FOLDER: Final = "TIRGEN_RENDEZVOUS"
"""Environment variable with the folder through which the processes meet."""
_LOOPBACK: Final = "lo0" if sys.platform == "darwin" else "lo"
NO_PORTS: Final = {
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "GLOO_SOCKET_IFNAME": _LOOPBACK,
    "NCCL_SOCKET_IFNAME": _LOOPBACK,
}
"""Environment in which torch opens no port of its own, and gloo and NCCL use loopback."""


def launch(processes: int, program: list[str]) -> None:
    """Run the program under torchrun to its end.

    Raises `ChildFailedError` of torch where a process fails.
    """
    from torch.distributed.run import main

    with TemporaryDirectory(prefix="tirgen-rendezvous-") as folder:
        os.environ.update(NO_PORTS, **{FOLDER: folder})
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={Path(folder) / 'agents'}"]
        here = ["--nnodes=1", "--rdzv-conf=store_type=file", f"--rdzv-id={os.getpid()}"]
        main([*here, *meeting, f"--nproc-per-node={processes}", *program])


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
