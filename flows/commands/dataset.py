"""``tirgen dataset``: what is published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from flows.commands.alignment import alignment_command
from flows.commands.checking import report_files
from flows.commands.common import DEFAULT_STORE, StorePath, read_store
from flows.commands.curate import curate_command
from flows.commands.importing import import_command
from flows.console import Json, print_json, say
from flows.tables import minute, show_rows
from storage.export import SftFormat, export_sft
from storage.versions import DatasetVersion
from tirgen.config import GenerateConfig
from tirgen.jobs.reverify import response_text
from tirgen.tir.prompts import PROMPT_SETS, STANDARD, PromptSet

app = App(name="dataset", version_flags=(), help="Published dataset versions.")
app.command(curate_command, name="curate")
app.command(import_command, name="import")
app.command(alignment_command, name="alignment")


@app.command(name="list")
def list_command(*, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """List the latest version of every dataset.

    Example: tirgen dataset list --json

    Parameters
    ----------
    store
        Folder of the store.
    json
        Print one JSON array on stdout.
    """
    opened = read_store(store)
    found = opened.datasets()
    if json:
        print_json([_summary(version) for version in found])
    elif found:
        _show_versions("", found)
    else:
        say(f"nothing is published in {opened.root}; make a dataset: tirgen demo")


@app.command(name="show")
def show_command(name: str, /, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Show one dataset: its versions, and the manifest and yield of the one named.

    Example: tirgen dataset show demo@v1

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    store
        Folder of the store.
    json
        Print the manifest as one JSON document on stdout.
    """
    opened = read_store(store)
    version = opened.version(name)
    if json:
        print_json(version.manifest)
        return
    _show_versions("versions", opened.versions(version.dataset))
    if found := version.manifest["summary"].get("yield"):
        show_rows(found, f"yield of {version}")
    say(f"files: {version.path}")


@app.command(name="check")
def check_command(name: str, /, *, store: StorePath = DEFAULT_STORE, json: Json = False) -> None:
    """Hash every file of a version and compare with what was published; exit 1 when one differs.

    Example: tirgen dataset check demo@v1

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    store
        Folder of the store.
    json
        Print one JSON document on stdout.
    """
    report_files(read_store(store).version(name), as_json=json)


@app.command(name="export")
def export_command(
    name: str,
    out: Path,
    /,
    *,
    shape: Annotated[SftFormat, Parameter(name="--format")] = SftFormat.MESSAGES,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Export the kept trajectories for fine-tuning, each under the prompt that asks for programs.

    Example: tirgen dataset export demo sft.jsonl --format prompt_completion

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    out
        JSON Lines file to write.
    shape
        Shape of a row.
    store
        Folder of the store.
    json
        Print a JSON document on stdout.
    """
    version = read_store(store).version(name)
    prompts = prompt_set(version)
    rows = export_sft(
        version,
        out,
        lambda problem: prompts.for_tir(problem.question)[0].content,
        response_text,
        shape,
    )
    if json:
        print_json({"rows": rows, "path": str(out), "version": str(version)})
    say(f"{rows} rows of {version} in {out}")


def prompt_set(version: DatasetVersion) -> PromptSet:
    """The prompts that go with its trajectories; those of imported ones are the standard ones."""
    config = version.manifest["config"]
    if "actor" not in config:
        return STANDARD
    return PROMPT_SETS[GenerateConfig.model_validate(config).prompt_set_name]


def _show_versions(title: str, versions: Sequence[DatasetVersion]) -> None:
    """Named as other commands take them; the narrower the terminal, the fewer columns."""
    rows = [
        {
            "version": str(version),
            "rows": summary["rows"],
            "kept": summary["kept"],
            "problems": summary["problems"],
            "made from": summary["made_from"],
            "created": minute(str(summary["created"])),
            "config": summary["config"],
        }
        for version in versions
        for summary in [_summary(version)]
    ]
    show_rows(rows, title, ("config", "created", "problems", "made from"))


def _summary(version: DatasetVersion) -> dict[str, object]:
    manifest = version.manifest
    return {
        "dataset": version.dataset,
        "version": version.version,
        "rows": manifest["rows"],
        "kept": manifest["kept_rows"],
        "problems": manifest["summary"].get("problems"),
        "made_from": manifest.get("made_from"),
        "created": manifest["created_at"],
        "config": manifest["config_hash"],
    }
