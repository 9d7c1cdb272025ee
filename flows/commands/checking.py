"""`tirgen dataset check` and `policy check`: are the files what was written?"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flows.console import print_json, say
from flows.failures import WORK_FAILED
from storage.checking import Flaw


def report_flaws(what: str, flaws: Sequence[Flaw], *, as_json: bool) -> None:
    """Say which files are not what was written; exit 1 where one is not."""
    if as_json:
        damaged = [{"path": str(flaw.path), "why": flaw.why} for flaw in flaws]
        print_json({"checked": what, "damaged": damaged})
    elif flaws:
        for flaw in flaws:
            say(f"{flaw.path} {flaw.why}")
        say("next: bring them back from a backup, or make the version again under another name")
    else:
        say(f"{what}: every file is what was written")
    if flaws:
        sys.exit(WORK_FAILED)
