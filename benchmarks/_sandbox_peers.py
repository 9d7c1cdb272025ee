"""The usual ways to run model-written Python, each measured with the same snippets.

Peers that are libraries live in an environment of their own, named by TIRGEN_BENCH_PEERS:

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install sympy numpy jupyter_client ipykernel smolagents
    TIRGEN_BENCH_PEERS=/tmp/peers/bin/python python -m benchmarks sandbox

bubblewrap and nsjail are used where they are on the path (`apt install bubblewrap nsjail`).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

PEERS_VARIABLE = "TIRGEN_BENCH_PEERS"
_DRIVER = Path(__file__).with_name("_peer_driver.py")
_CLEAN = {"PATH": "/usr/bin:/bin"}
_REPORT = "\nimport sys, time\nprint(time.process_time(), file=sys.stderr)"


class SnippetCost(NamedTuple):
    """Of one snippet, on average over a round."""

    cpu_ms: float
    per_second: float


class PeerSandbox(NamedTuple):
    """One contender; `measure` takes the snippets, some to warm up with, and how many at once."""

    name: str
    measure: Callable[[Sequence[str], Sequence[str], int], SnippetCost]
    is_cold: bool
    """It starts an interpreter for each snippet, so few snippets are enough."""
    missing: str = ""
    """Why it cannot be run here; empty where it can."""


def peers() -> list[PeerSandbox]:
    """All peers, also those that are not installed."""
    bwrap, nsjail = shutil.which("bwrap"), shutil.which("nsjail")
    libraries = os.environ.get(PEERS_VARIABLE, "")
    no_libraries = "" if libraries else f"{PEERS_VARIABLE} names no python that has it"
    return [
        PeerSandbox("python -c", partial(_cold, _direct([])), True),
        PeerSandbox(
            "bubblewrap",
            partial(_cold, _direct(_bubblewrap(bwrap or ""))),
            True,
            "" if bwrap else "bwrap is not on the path",
        ),
        PeerSandbox(
            "nsjail",
            partial(_cold, _direct(_nsjail(nsjail or ""))),
            True,
            "" if nsjail else "nsjail is not on the path, nor packaged by Debian 12",
        ),
        PeerSandbox("SandboxFusion's runner, reproduced", partial(_cold, _sandbox_fusion), True),
        PeerSandbox("Jupyter kernel", partial(_driven, libraries, "jupyter"), False, no_libraries),
        PeerSandbox("smolagents", partial(_driven, libraries, "smolagents"), False, no_libraries),
        PeerSandbox("unjailed fork", partial(_driven, sys.executable, "fork"), False),
        PeerSandbox("in process", partial(_driven, sys.executable, "in_process"), False),
    ]


def _bubblewrap(program: str) -> list[str]:
    view = ["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
    return [program, *view, "--unshare-all", "--die-with-parent"]


def _nsjail(program: str) -> list[str]:
    return [program, "-Mo", "-Q", "--chroot", "/", "--time_limit", "60", "--rlimit_as", "max", "--"]


def _direct(prefix: list[str]) -> Callable[[str], float]:
    def run(source: str) -> float:
        command = [*prefix, sys.executable, "-c", source + _REPORT]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, env=_CLEAN)
        return float(ended.stderr)

    return run


def _sandbox_fusion(source: str) -> float:
    """What SandboxFusion's runner does with isolation `none`: a file in a new directory, run by
    bash.

    Its HTTP server would add to this. Its package on PyPI is the client only.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tmp.py"
        path.write_text(source + _REPORT)
        ended = subprocess.run(
            ["/bin/bash", "-c", f"{sys.executable} {path}"],
            check=True,
            capture_output=True,
            text=True,
            env=_CLEAN,
            cwd=directory,
            start_new_session=True,
        )
        return float(ended.stderr)


def _cold(
    run: Callable[[str], float], _: Sequence[str], sources: Sequence[str], at_once: int
) -> SnippetCost:
    """The CPU time that a peer reports, where that is more: bubblewrap does not wait for its
    child."""
    before, started = _reaped_cpu(), time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        inside = sum(pool.map(run, sources))
    seconds = time.perf_counter() - started
    cpu = max(inside, _reaped_cpu() - before)
    return SnippetCost(cpu / len(sources) * 1e3, len(sources) / seconds)


def _driven(
    python: str, name: str, warm: Sequence[str], sources: Sequence[str], at_once: int
) -> SnippetCost:
    work = json.dumps({"warm": list(warm), "measured": list(sources)})
    command = [python, str(_DRIVER), name, str(at_once)]
    ended = subprocess.run(command, input=work, check=True, capture_output=True, text=True)
    took = json.loads(ended.stdout.splitlines()[-1])
    return SnippetCost(took["cpu"] / len(sources) * 1e3, len(sources) / took["seconds"])


def _reaped_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
