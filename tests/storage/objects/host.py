"""A host that appends rows to a run and then publishes: ``host.py ADDRESS NAME ROWS``.

Each row that was acknowledged is one line on standard output; the last line is the version.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from storage.datasets import Store
from tests.rows import row

if __name__ == "__main__":
    address, name, rows = sys.argv[1:]
    run = Store(Path(address)).open_run("demo", {}, "c0ffee")
    print("open", flush=True)
    for number in range(int(rows)):
        made = replace(row(f"{name}-{number}"), dataset="demo")
        run.append([made])
        print(made.trajectory_id, flush=True)
    print(run.publish(run.read(), {}), flush=True)
