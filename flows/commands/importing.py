"""``tirgen dataset import``: published trajectories, run and judged again here."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.commands.options import (
    DEFAULT_STORE,
    Json,
    Repeated,
    SetOption,
    StorePath,
    open_store,
    parse_settings,
)
from flows.terminal.console import print_json, say
from flows.terminal.progress import job_display
from flows.terminal.tables import show_rows
from storage.places import shown
from tirgen.data.errors import skipped_by_reason
from tirgen.data.response_layouts import ResponseFormat
from tirgen.data.responses import find_format
from tirgen.jobs.import_config import ImportConfig
from tirgen.jobs.importing import ImportReport, import_trajectories
from tirgen.settings import load_settings


def import_command(
    path: Path,
    /,
    *,
    dataset: str,
    format_: Annotated[ResponseFormat | None, Parameter(name="--format")] = None,
    gold: Repeated = None,
    limit: int | None = None,
    stateful: bool | None = None,
    set_: SetOption = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Import published trajectories: programs run again, answers judged again.

    Running the same command again continues where it stopped; a finished import is reused.

    Examples of use:

        tirgen dataset import tora_code_34b_gsm8k.jsonl --dataset tora

        tirgen dataset import numinamath-tir.parquet --dataset numina --gold math_train.jsonl

    Parameters
    ----------
    path
        JSONL, JSON, CSV, Parquet or Arrow file.
    dataset
        Name of the dataset to publish.
    format_
        Published layout of the rows; by default recognised by their fields.
    gold
        Problem file with the answers, for data without any; may be repeated.
    limit
        Only this many responses, the first ones.
    stateful
        Run the programs of a response in one interpreter; by default as its publisher did.
    """
    settings: dict[str, Any] = {
        "dataset": dataset,
        "path": path.expanduser().absolute(),
        "format": format_ or find_format(path.expanduser()),
        "gold": gold and [str(Path(file).expanduser().absolute()) for file in gold],
        "stateful": stateful,
        **parse_settings(set_),
    }
    config = load_settings(ImportConfig, None, settings)
    opened = open_store(store)
    say(f"{config.format} rows of {path} into dataset {dataset} in {opened}")
    with job_display("import") as display:
        report = asyncio.run(import_trajectories(config, opened, limit, display.update))
    if json:
        print_json(_document(report))
    else:
        _show(report)


def _document(report: ImportReport) -> dict[str, Any]:
    return {
        "version": str(report.version),
        "path": shown(report.version.path),
        "trajectories": report.version.samples,
        "kept": report.version.manifest["kept_rows"],
        "made_now": report.made,
        "reused_rows": report.reused,
        "skipped_rows": [row._asdict() for row in report.skipped],
        "yield": [asdict(row) for row in report.yields],
    }


def _show(report: ImportReport) -> None:
    for sentence in skipped_by_reason(report.skipped):
        say(sentence)
    show_rows([asdict(row) for row in report.yields], f"Yield of {report.version}")
    say(
        f"{report.version}: {report.made} responses run now, {report.reused} before; "
        f"files: {shown(report.version.path)}"
    )
