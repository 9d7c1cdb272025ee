"""``tirgen dataset curate``: filter and verify a version again, without inference."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.commands.options import (
    DEFAULT_STORE,
    ConfigFile,
    Flag,
    Json,
    Repeated,
    SetOption,
    StorePath,
    open_store,
    parse_settings,
)
from flows.terminal.console import print_json, say
from flows.terminal.progress import CountDisplay
from flows.terminal.tables import show_rows
from storage.places import shown
from tirgen.filters.apply import YieldRow
from tirgen.jobs.curate import CurationReport, MatchedProblem, curate_config, curate_version

SHOWN = 20
"""Rows of a list for people; `--json` has them all."""


def curate_command(
    name: str,
    /,
    *,
    config: ConfigFile = None,
    against: Repeated = None,
    reverify: Flag = False,
    set_: SetOption = None,
    dry_run: Flag = False,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Filter a version again with other settings and publish the result as the next version.

    No inference. Rejected rows stay, with their reasons; the new version names its parent.

    Examples of use:

        tirgen dataset curate demo --set filters.minimum_calls=2

        tirgen dataset curate tir@v3 --against aime24.jsonl --against math_test.jsonl --dry-run

        tirgen dataset curate tir --reverify

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    config
        TOML or JSON file with `filters` and `seed`; other settings stay as they were.
    against
        Benchmark whose problems must not be in the data, as a problem file; may be repeated.
    reverify
        First judge every answer again with the current verifier.
    dry_run
        Show what would be kept and why, and publish nothing.
    """
    opened = open_store(store)
    source = opened.version(name)
    files = against and [_absolute(path) for path in against]
    settings: dict[str, Any] = {"filters.against": files, **parse_settings(set_)}
    resolved = curate_config(source, config, settings)
    with CountDisplay("verify") as display:
        curation = asyncio.run(
            curate_version(
                opened, source, resolved, again=reverify, publish=not dry_run, count=display.count
            )
        )
    if json:
        print_json(_document(curation))
    else:
        _show(curation)


def _absolute(path: str) -> str:
    """The absolute path, which the version records; packaged problems have no folder."""
    return path if path.startswith("pocket:") else str(Path(path).absolute())


def _document(curation: CurationReport) -> dict[str, Any]:
    return {
        "made_from": str(curation.source),
        "version": curation.version and str(curation.version),
        "reused": curation.reused,
        "kept_before": curation.source.manifest["kept_rows"],
        "kept": curation.kept,
        "yield_before": [asdict(row) for row in curation.before],
        "yield": [asdict(row) for row in curation.after],
        "matches": [_match(row) for row in curation.matches],
        "changed_verdicts": [change._asdict() for change in curation.changed],
    }


def _show(curation: CurationReport) -> None:
    target = str(curation.version or "dry run")
    rows = side_by_side(curation.before, curation.after, str(curation.source), target)
    spared = (f"{curation.source} kept", f"{curation.source} dropped")
    show_rows(rows, f"Yield of {curation.source} and {target}", spared)
    _show_some("What matched what", [_match(row) for row in curation.matches])
    changed = [
        {"trajectory": c.trajectory_id, "before": c.before.reason, "now": c.after.reason}
        for c in curation.changed
    ]
    _show_some("Judged otherwise now", changed)
    say(_last_line(curation))


def side_by_side(
    before: Sequence[YieldRow], after: Sequence[YieldRow], old: str, new: str
) -> list[dict[str, Any]]:
    """A row for each rule, with the rows it dropped and kept in each version."""
    tables = {old: {row.rule: row for row in before}, new: {row.rule: row for row in after}}
    rules = dict.fromkeys(row.rule for row in (*after, *before))
    entered = {
        name: max((r.entered for r in rows.values()), default=0) for name, rows in tables.items()
    }
    lines: list[dict[str, Any]] = [_line("raw", dict.fromkeys(tables), entered)]
    for rule in rules:
        found = {name: rows.get(rule) for name, rows in tables.items()}
        dropped = {name: row and row.dropped for name, row in found.items()}
        kept = {name: row and row.kept for name, row in found.items()}
        lines.append(_line(rule, dropped, kept))
    return lines


def _line(rule: str, dropped: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "filter": rule,
        **{f"{name} dropped": count for name, count in dropped.items()},
        **{f"{name} kept": count for name, count in kept.items()},
    }


def _match(match: MatchedProblem) -> dict[str, str]:
    return {
        "problem": match.problem.problem_id,
        "rule": match.rule,
        "matched": match.matched,
        "question": match.problem.question,
    }


def _show_some(title: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        more = f", the first {SHOWN} of {len(rows)}" if len(rows) > SHOWN else ""
        short = [{k: str(v)[:100] for k, v in row.items()} for row in rows[:SHOWN]]
        show_rows(short, f"{title}{more}")


def _last_line(curation: CurationReport) -> str:
    before = curation.source.manifest["kept_rows"]
    if curation.version is None:
        return f"would keep {curation.kept} rows, {before} now; nothing was published"
    verb = "reused" if curation.reused else "published"
    return (
        f"{verb} {curation.version}, made from {curation.source}: {curation.kept} rows kept, "
        f"{before} before; files: {shown(curation.version.path)}"
    )
