"""Runs snippets in one of the peers that are libraries; started with the python that has them.

``python _peer_driver.py PEER AT_ONCE`` with ``{"warm": [...], "measured": [...]}`` on stdin; prints
the CPU seconds of this process and all it started, and the seconds it took.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

Worker: TypeAlias = Callable[[str], Any]
TICKS = os.sysconf("SC_CLK_TCK")


def family_cpu() -> float:
    """Of this process and every living descendant, with the children those have reaped."""
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    todo = [os.getpid()]
    while todo:
        for task in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                used += sum(map(int, fields[11:15])) / TICKS
                todo.append(child)
    return used


def in_threads(works: list[Worker], sources: list[str], at_once: int) -> None:
    """Give each of `at_once` workers its share."""

    def share(number: int) -> None:
        for source in sources[number::at_once]:
            works[number](source)

    threads = [threading.Thread(target=share, args=(n,)) for n in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def jupyter(at_once: int) -> Iterator[list[Worker]]:
    """One Jupyter kernel per worker, used again: snippets share its state."""
    from jupyter_client.manager import start_new_kernel  # type: ignore[import-not-found]

    kernels = [start_new_kernel(kernel_name="python3") for _ in range(at_once)]

    def work(client: Any) -> Worker:
        def run(source: str) -> None:
            reply = client.execute_interactive(source, timeout=300, output_hook=lambda _: None)
            assert reply["content"]["status"] == "ok", reply

        return run

    yield [work(client) for _, client in kernels]
    for manager, client in kernels:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@contextlib.contextmanager
def smolagents(at_once: int) -> Iterator[list[Worker]]:
    """smolagents' own Python interpreter, in this process."""
    from smolagents.local_python_executor import (  # type: ignore[import-not-found]
        LocalPythonExecutor,
    )

    def work() -> Worker:
        def run(source: str) -> None:
            executor = LocalPythonExecutor(["sympy", "sympy.*", "numpy"])
            executor.send_tools({})
            executor(source)

        return run

    yield [work() for _ in range(at_once)]


@contextlib.contextmanager
def in_process(_: int) -> Iterator[list[Worker]]:
    """The snippets' own work in a warm interpreter, without any isolation."""
    import sympy  # noqa: F401

    def run(source: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {})

    yield [run]


@contextlib.contextmanager
def fork(_: int) -> Iterator[list[Worker]]:
    """A fork of a warm interpreter per snippet: no jail, nothing shared."""
    import numpy  # noqa: F401
    import sympy  # noqa: F401

    null = os.open(os.devnull, os.O_WRONLY)

    def run(source: str) -> None:
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            os.dup2(null, 1)
            status = 1
            try:
                exec(source, {})
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

    def warm_or_run(source: str) -> None:
        if source.startswith("#warm"):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(source, {})
        else:
            run(source)

    yield [warm_or_run]


PEERS = {"jupyter": jupyter, "smolagents": smolagents, "in_process": in_process, "fork": fork}


def main() -> None:
    name, at_once = sys.argv[1], int(sys.argv[2])
    work = json.load(sys.stdin)
    with PEERS[name](at_once) as workers:
        for worker in workers:
            for source in work["warm"]:
                worker(source)
        cpu, started = family_cpu(), time.perf_counter()
        if len(workers) == 1:
            for source in work["measured"]:
                workers[0](source)
        else:
            in_threads(workers, work["measured"], at_once)
        cpu, seconds = family_cpu() - cpu, time.perf_counter() - started
    json.dump({"cpu": cpu, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
