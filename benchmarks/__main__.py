"""`python -m benchmarks NAME [--quick] [--json]`: run one benchmark, print one JSON object last.

A full run also writes `docs/results/bench-NAME.json`, the file that is committed; a quick run
only shows that the benchmark works and is never kept.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import Figures, Result, narrate

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def names() -> list[str]:
    """The names of all benchmarks."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def measure(name: str, quick: bool) -> dict[str, Any]:
    """Run one benchmark and return its report, ready for JSON."""
    module = importlib.import_module(f"benchmarks.{name}")
    started = time.monotonic()
    result: Result = module.run(quick)
    return {
        "name": name,
        "claim": module.CLAIM,
        "ours": dict(result.ours),
        "peers": {peer: dict(figures) for peer, figures in result.peers.items()},
        "reached": result.reached,
        "note": result.note,
        "quick": quick,
        "seconds": round(time.monotonic() - started, 1),
        "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        "python": platform.python_version(),
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def describe(report: dict[str, Any]) -> str:
    """The report as a few lines for a person."""
    lines = [report["claim"], _row("ours", report["ours"])]
    lines += [_row(peer, figures) for peer, figures in report["peers"].items()]
    lines.append("reached" if report["reached"] else "NOT reached")
    return "\n".join(lines)


def _row(who: str, figures: Figures) -> str:
    return f"  {who}: " + ", ".join(f"{name} {value}" for name, value in figures.items())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=names(), help="which benchmark")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--json", action="store_true", help="nothing but the JSON on stdout")
    options = parser.parse_args(arguments)
    report = measure(options.name, options.quick)
    if not options.quick:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"bench-{options.name}.json"
        path.write_text(json.dumps(report, indent=2) + "\n")
        narrate(f"wrote {path}")
    if not options.json:
        print(describe(report))
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
