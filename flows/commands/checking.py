"""`tirgen dataset check` and `policy check`: are published files what they were?"""

from __future__ import annotations

import sys

from flows.console import print_json, say
from flows.failures import WORK_FAILED
from storage.numbered import Version


def report_files(version: Version, *, as_json: bool) -> None:
    """Say which files differ from what was published; exit 1 where one does."""
    damaged = [str(path) for path in version.damaged_files()]
    if as_json:
        print_json({"version": str(version), "damaged": damaged})
    elif damaged:
        say(f"{version}: not what was published: {', '.join(damaged)}")
        say("next: bring them back from a backup, or make the version again under another name")
    else:
        say(f"{version}: every file is what was published")
    if damaged:
        sys.exit(WORK_FAILED)
