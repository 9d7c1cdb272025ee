"""``tirgen doctor``: checks everything the main job needs and names a fix for each failure."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from flows.commands.options import (
    DEFAULT_STORE,
    NO_ENGINES,
    ConfigFile,
    Engines,
    Json,
    SetOption,
    StorePath,
    open_store,
    parse_settings,
)
from flows.terminal.console import print_json, show
from flows.terminal.failures import PREREQUISITE
from storage.text import safe_text
from tirgen.jobs.doctor import Finding, examine
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.sandbox.modes import PROMISES, IsolationMode
from tirgen.settings import load_settings
from tirgen.tir.prompt_check import CheckLevel

STYLES = {CheckLevel.OK: "green", CheckLevel.WARN: "yellow", CheckLevel.FAIL: "bold red"}


def doctor_command(
    *,
    config: ConfigFile = None,
    engines: Engines = NO_ENGINES,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Check Python, store, engine, sandbox, verifier and extras; exit 4 when one fails.

    Give it the options of `tirgen generate`: it tries exactly those engines and that sandbox.

    Examples of use:

        tirgen doctor --actor http://127.0.0.1:8000/v1 --actor-model my-model

        tirgen doctor --config run.toml --set sandbox.floor=userns
    """
    settings = {
        **engines.settings(),
        **parse_settings(set_),
    }
    findings = asyncio.run(
        examine(load_settings(GenerateConfig, config, settings), open_store(store))
    )
    if json:
        print_json([_document(finding) for finding in findings])
    else:
        show(_table(findings))
        show(_promises())
    if any(finding.level is CheckLevel.FAIL for finding in findings):
        sys.exit(PREREQUISITE)


def _document(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"seconds": round(finding.seconds, 3)}


def _table(findings: list[Finding]) -> Table:
    """A row for each finding; the column "what to do" is left out if nothing is to be done."""
    table = Table(show_lines=False)
    has_fix = any(finding.fix for finding in findings)
    for name in ("", "check", "found", "seconds", *(["what to do"] if has_fix else [])):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(
            Text(finding.level, style=STYLES[finding.level]),
            safe_text(finding.check),
            safe_text(finding.found),
            Text(f"{finding.seconds:.2f}"),
            *([safe_text(finding.fix)] if has_fix else []),
        )
    return table


def _promises() -> Table:
    """What the sandbox promises in each mode; the table above names the mode in force."""
    table = Table(title="what the sandbox promises, by mode", show_lines=False)
    for name in ("", *IsolationMode):
        table.add_column(name, overflow="fold")
    for promise in PROMISES:
        table.add_row(*map(Text, promise))
    return table
