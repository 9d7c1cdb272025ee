"""``tirgen doctor``: checks everything the main job needs and names the fix for each failure."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from flows.commands.common import DEFAULT_STORE, SetOption, StorePath, open_store
from flows.commands.generate import engine_settings, parse_settings
from flows.console import Json, print_json, show
from flows.failures import PREREQUISITE
from storage.text import safe_text
from tirgen.jobs.doctor import Finding, Level, examine
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.sandbox.modes import PROMISES, Mode
from tirgen.settings import load_settings

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor_command(
    *,
    config: Path | None = None,
    actor: str | None = None,
    actor_model: str | None = None,
    actor_tokenizer: str | None = None,
    critic: str | None = None,
    critic_model: str | None = None,
    critic_tokenizer: str | None = None,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Check Python, store, engine, sandbox, verifier and extras; exit 4 when one fails.

    Give it what `tirgen generate` will be given: it tries exactly those engines and that sandbox.

    Examples of use:

        tirgen doctor --actor http://127.0.0.1:8000/v1 --actor-model my-model

        tirgen doctor --config run.toml --set sandbox.floor=userns

    Parameters
    ----------
    config
        TOML or JSON file with any of the settings; flags win over it.
    actor
        The engine to check: "embedded", or a base URL.
    actor_model
        Model name on that server.
    actor_tokenizer
        Directory or Hugging Face id of its tokenizer, where the model name is not one.
    critic
        The critic's engine, where it is another one.
    critic_model
        Model name on that server.
    critic_tokenizer
        Directory or Hugging Face id of its tokenizer, where the model name is not one.
    """
    settings = {
        **engine_settings("actor", actor, actor_model, actor_tokenizer),
        **engine_settings("critic", critic, critic_model, critic_tokenizer),
        **parse_settings(set_ or []),
    }
    findings = asyncio.run(
        examine(load_settings(GenerateConfig, config, settings), open_store(store))
    )
    if json:
        print_json([_document(finding) for finding in findings])
    else:
        show(_table(findings))
        show(_promises())
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(PREREQUISITE)


def _document(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"seconds": round(finding.seconds, 3)}


def _table(findings: list[Finding]) -> Table:
    """What to do has a column only where there is something to do."""
    table = Table(show_lines=False)
    ailing = any(finding.fix for finding in findings)
    for name in ("", "check", "found", "seconds", *(["what to do"] if ailing else [])):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(
            Text(finding.level, style=STYLES[finding.level]),
            safe_text(finding.check),
            safe_text(finding.found),
            Text(f"{finding.seconds:.2f}"),
            *([safe_text(finding.fix)] if ailing else []),
        )
    return table


def _promises() -> Table:
    """What the sandbox promises in each of its modes; which one is in force stands above."""
    table = Table(title="what the sandbox promises, by mode", show_lines=False)
    for name in ("", *Mode):
        table.add_column(name, overflow="fold")
    for promise in PROMISES:
        table.add_row(*map(Text, promise))
    return table
