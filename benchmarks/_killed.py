"""Runs commands in forks of a warm process, one after the other, so that killing them is cheap.

Each line on stdin is a JSON list of words: those of a `tirgen` command, or ``compact FOLDER`` or
``publish STORE DATASET HASH``. The id of the process is printed, and its status once it has ended.
The process leads a group of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import flows.cli
from storage.compaction import Compactor
from storage.datasets import Store


def _work(words: Sequence[str]) -> int:
    match words:
        case ["compact", folder]:
            Compactor(Path(folder), fan_in=4).compact()
        case ["publish", store, dataset, name]:
            run = Store(Path(store)).open_run(dataset, {}, name)
            run.publish(run.read(), {})
        case _:
            return flows.cli.run(words)
    return 0


def _child(words: Sequence[str]) -> int:
    os.setpgid(0, 0)
    nothing, said = os.open(os.devnull, os.O_RDWR), os.dup(2)
    for descriptor, target in enumerate((nothing, said, said)):
        os.dup2(target, descriptor)
    try:
        return _work(words)
    except SystemExit as ended:
        return int(ended.code or 0)


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_child(json.loads(line)))
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)
